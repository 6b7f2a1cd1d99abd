"""Embeddings as directions: how strongly a net answers varies with light and size, which is no likeness."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

SHORTEST = 1e-12
"""Length below which a vector has no direction and stays as it is, near zero."""

F = TypeVar("F", np.float32, np.float64)


def unit(rows: npt.NDArray[F]) -> npt.NDArray[F]:
    """(N, D) rows of length 1, contiguous; zero vectors stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(lengths, SHORTEST), dtype=rows.dtype)


def squared_distances(a: npt.NDArray[F], b: npt.NDArray[F]) -> npt.NDArray[F]:
    """(N, M) squared distances, 0..4, of (N, D) and (M, D) unit rows; a zero vector is as far as a right angle.

    Squares keep the order of distances, and their roots are taken of the few that matter.
    """
    return np.asarray(np.clip(2 - 2 * (a @ b.T), 0, 4))


def distances(rows: npt.NDArray[F], one: npt.NDArray[F]) -> npt.NDArray[F]:
    """(N,) distances, 0..2, of (N, D) to (D,) on the unit sphere."""
    return np.asarray(np.sqrt(squared_distances(unit(rows), unit(one[None]))[:, 0]))
