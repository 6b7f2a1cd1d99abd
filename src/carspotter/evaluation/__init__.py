"""Arrays in, arrays and records out: measures, answers, submissions. Nothing here loads a model."""
