"""The HTTP API: several models behind worker processes, with limits; no torch."""
