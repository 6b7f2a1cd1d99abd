"""Parts of `tracking/seed_log.py`, used by nobody else: columns, settings, and what is no training of its own."""
