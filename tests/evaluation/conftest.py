"""A made set for whatever judges embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.embedded import CLASSES, EACH, WIDTH


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, D) around one centre per class and a common one; labels; folds."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = 3 + rng.normal(0, 1.5, (CLASSES, WIDTH))
    embeddings = centres[labels] + rng.normal(0, 0.7, (len(labels), WIDTH))
    return embeddings.astype(np.float32), labels, np.arange(len(labels)) % 5
