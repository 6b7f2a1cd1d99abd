"""Whether two small photos show the same picture, one perhaps cut a little smaller.

A 64-bit hash cannot tell: dealers photograph different cars in one booth from one spot, and such photos differ in as
few bits as copies do. Fine detail can, once the two are laid on each other.
"""

from __future__ import annotations

from itertools import product
from typing import Any, cast

import numpy as np
import numpy.typing as npt

THUMB = 48
"""Side of the grey square that is compared, pixels. Measured with 32, 48: copies and look-alikes overlap at 32."""
FRAME = 32
"""Side of the common frame that both are brought to, pixels."""
CUTS = (0.0, 0.02, 0.04, 0.06)
"""What may be cut off an edge, as a share of the side. The step leaves at most 1 % of shift, a third of a pixel."""

WIDE_CUTS = (0.0, 0.04, 0.08, 0.12, 0.16, 0.20)
"""Where `aligned_likeness` begins its search, shares of the side."""
STEPS = (0.02, 0.01, 0.005)
"""By how much it moves an edge in its rounds; the last is a quarter of a thumb's pixel."""
MOST_CUT = 0.3
"""No edge is moved further in (assumption: what is left, 16 % of the picture at least, must still be detail)."""

Floats = npt.NDArray[np.float32]


def aligned_likeness(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Floats:
    """As `likeness`, with a longer search: each edge moves until the two agree best, up to MOST_CUT.

    Costs some hundred times as much, so it is for the few pairs that `likeness` holds possible.
    """
    left, right = a.astype(np.float32), b.astype(np.float32)
    return np.maximum(_searched(left, right), _searched(right, left))


def likeness(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Floats:
    """How far each `a` and `b` agree in detail.

    The cut is sought per axis on the mean brightness of columns and rows, then checked on the whole picture: for each
    direction (b cut out of a, a out of b) 2 × 16 short correlations instead of 256 full ones.

    Args:
        a: (N, THUMB, THUMB) grey.
        b: the same, compared row by row with `a`.

    Returns:
        (N,) correlation of fine detail in [-1, 1]; 1: the same picture. Flat pictures have no detail: 0.
    """
    left, right = a.astype(np.float32), b.astype(np.float32)
    return np.maximum(_cut_likeness(left, right), _cut_likeness(right, left))


def _cut_likeness(whole: Floats, part: Floats) -> Floats:
    target = _unit(_detail(_FRAMES[0] @ part @ _FRAMES[0].T))
    columns = _best_cut(whole.mean(axis=1), part.mean(axis=1), _FRAMES)
    rows = _best_cut(whole.mean(axis=2), part.mean(axis=2), _FRAMES)
    plain = _unit(_detail(_FRAMES[0] @ whole @ _FRAMES[0].T))
    cut = _unit(_detail(_FRAMES[rows] @ whole @ _FRAMES[columns].transpose(0, 2, 1)))
    return cast("Floats", np.maximum((plain * target).sum(axis=1), (cut * target).sum(axis=1)))


def _searched(whole: Floats, part: Floats) -> Floats:
    """Moves one edge, or two opposite ones together, at a time, and keeps what agrees better."""
    target = _unit(_detail(_FRAMES[0] @ part @ _FRAMES[0].T))
    columns = _best_cut(whole.mean(axis=1), part.mean(axis=1), _WIDE_FRAMES)
    rows = _best_cut(whole.mean(axis=2), part.mean(axis=2), _WIDE_FRAMES)
    cuts = np.concatenate([_WIDE[columns], _WIDE[rows]], axis=1)  # (N, 4): left, right, top, bottom
    best = _agreement(whole, target, cuts)
    for step in STEPS:
        for move in (*_MOVES, *_MOVES):
            tried = np.clip(cuts + step * move, 0, MOST_CUT).astype(np.float32)
            found = _agreement(whole, target, tried)
            better = found > best
            cuts[better], best[better] = tried[better], found[better]
    return best


def _agreement(whole: Floats, target: Floats, cuts: Floats) -> Floats:
    columns, rows = _frames(cuts[:, 0], cuts[:, 1]), _frames(cuts[:, 2], cuts[:, 3])
    seen = _unit(_detail(rows @ whole @ columns.transpose(0, 2, 1)))
    return cast("Floats", (seen * target).sum(axis=1))


def _best_cut(whole: Floats, part: Floats, frames: Floats) -> npt.NDArray[np.int64]:
    """For each pair of (THUMB,) profiles, which of (K, FRAME, THUMB) frames of the whole looks most like the part."""
    cuts = np.einsum("kfp,np->nkf", frames, whole, optimize=True)
    target = _unit(_slope(part @ _FRAMES[0].T))
    flat = _unit(_slope(cuts.reshape(-1, FRAME))).reshape(len(whole), len(frames), FRAME - 1)
    return cast("npt.NDArray[np.int64]", np.einsum("nkf,nf->nk", flat, target).argmax(axis=1))


def _slope(profiles: Floats) -> Floats:
    return np.diff(profiles, axis=1)


def _detail(pictures: npt.NDArray[np.floating[Any]]) -> Floats:
    """(N, FRAME²): each pixel less the mean of the 3 × 3 around it."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    mean = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return cast("Floats", (pictures - mean).reshape(len(pictures), FRAME * FRAME))


def _unit(rows: Floats) -> Floats:
    """Mean 0 and length 1; a row without any contrast becomes zeros."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return cast("Floats", (centred / np.maximum(length, 1e-3)).astype(np.float32))


def _frames(low: Floats, high: Floats) -> Floats:
    """(K, FRAME, THUMB) weights: the mean over equal parts of what is left between two cuts, shares of the side."""
    share = np.linspace(0, 1, FRAME + 1)
    edges = THUMB * (low[:, None] + (1 - high - low)[:, None] * share)
    pixels = np.arange(THUMB)
    overlap = np.minimum(edges[:, 1:, None], pixels + 1) - np.maximum(edges[:, :-1, None], pixels)
    weights = np.maximum(overlap, 0.0)
    return cast("Floats", (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32))


_NARROW = np.array(list(product(CUTS, CUTS)), dtype=np.float32)
_WIDE = np.array(list(product(WIDE_CUTS, WIDE_CUTS)), dtype=np.float32)
_FRAMES: Floats = _frames(_NARROW[:, 0], _NARROW[:, 1])
"""(16, FRAME, THUMB): the uncut frame first."""
_WIDE_FRAMES: Floats = _frames(_WIDE[:, 0], _WIDE[:, 1])
_MOVES = np.array(
    [
        sign * np.array(move)
        for move in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, -1, 0, 0), (0, 0, 1, -1))
        for sign in (1, -1)
    ],
    dtype=np.float32,
)
"""(12, 4): what is done to the left, right, top and bottom cut."""
