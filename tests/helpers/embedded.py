"""The size of the made set of embeddings (`tests/evaluation/conftest.py`)."""

CLASSES, EACH, WIDTH = 5, 40, 24
