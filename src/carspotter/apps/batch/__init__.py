"""`batch`: a manifest of any length answered in parts, by this process or by a cluster. It never reaches training."""
