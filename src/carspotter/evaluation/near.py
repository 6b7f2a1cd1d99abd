"""Photos by their nearest others: neighbours, and photos that are strange to a set. Arrays in, arrays out.

Every score is in [0, 1], 0 is surely bad. No step compares all photos with all: above EXACT photos neighbours come from
a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from carspotter.errors import MissingExtra
from carspotter.evaluation.sphere import unit

NEIGHBOURS = 10
"""Nearest photos that are asked. Measured on 488 ads: 10 and 30 find strange photos alike (AUROC .973 and .969)."""
EXACT = 20_000
"""Photos up to which neighbours are found exactly (assumption: seconds)."""
FEWER_DIMENSIONS = 128
"""Dimensions in which a graph of more photos is built (assumption: they hold most of what 1,280 do)."""
BASIS = 10_000
"""Photos that these dimensions are computed from (assumption: the second moments of more are no others)."""
LINKS, BUILD_EFFORT, SEARCH_EFFORT = 16, 80, 64
"""Of the graph; Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs", IEEE TPAMI 42 (2020), find 12 to 48 links and such efforts right for most data."""
SPREADS = 3.5
"""Robust standard deviations beyond the median at which a photo is strange and scores 0.5. Source: B. Iglewicz,
D. Hoaglin, "How to detect and handle outliers", 1993."""
UNSEEN = 1.64
"""Robust standard deviations below the median from which on little evidence of a vehicle counts: one photo in twenty,
if normal. Cars seen from above or afar have as little, so it counts beside strangeness, never alone (docs/log.md)."""
HALF_AGREE = 0.1
"""The median deviation counts for nothing where it is below this part of the mean one, both made standard deviations:
then half the photos agree almost exactly, as copies do. If normal they are equal; with a tenth of all photos 40 spreads
off the part is still 0.17."""

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The nearest other photos, nearest first.

    Attributes:
        photos: (N, k) their positions; -1 where there are fewer.
        cosine: (N, k) likeness in [-1, 1]; -1 where there is none.
    """

    photos: Index
    cosine: Vectors


def find_near(embeddings: Vectors, count: int = NEIGHBOURS, queries: Vectors | None = None) -> Near:
    """The nearest photos by the angle between embeddings as they are: centred ones lose what is common to all cars.

    Args:
        embeddings: (N, D).
        count: k.
        queries: (N, D) of the same photos seen otherwise (mirrored); None: the embeddings themselves.

    Raises:
        MissingExtra: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtra("finding neighbours", "audit") from None
    asked = embeddings if queries is None else queries
    if len(embeddings) > EXACT:
        basis = _basis(embeddings)
        embeddings, asked = embeddings @ basis, asked @ basis
        index: Any = faiss.IndexHNSWFlat(embeddings.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_EFFORT, SEARCH_EFFORT
    else:
        index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(unit(embeddings))
    cosine, photos = index.search(unit(asked), min(count + 1, len(embeddings)))
    return _without_self(photos.astype(np.int64), cosine, count)


def _without_self(photos: Index, cosine: Vectors, count: int) -> Near:
    """Drop each photo from its own neighbours, else the farthest; pad to `count`."""
    own = photos == np.arange(len(photos))[:, None]
    last = ~own.any(axis=1) & (photos.shape[1] > count)
    own[last, -1] = True
    order = np.argsort(own, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(own, order, 1) | (np.take_along_axis(photos, order, 1) < 0)
    found = np.where(kept, -1, np.take_along_axis(photos, order, 1))
    alike = np.where(kept, -1.0, np.take_along_axis(cosine, order, 1)).astype(np.float32)
    wide = ((0, 0), (0, count - found.shape[1]))
    return Near(np.pad(found, wide, constant_values=-1), np.pad(alike, wide, constant_values=-1.0))


def _basis(embeddings: Vectors) -> Vectors:
    """(D, FEWER_DIMENSIONS) axes that hold most of the second moment; angles between photos stay nearly the same."""
    some = embeddings[np.random.default_rng(0).permutation(len(embeddings))[:BASIS]].astype(np.float64)
    _, axes = np.linalg.eigh(some.T @ some)
    return cast("Vectors", np.ascontiguousarray(axes[:, ::-1][:, :FEWER_DIMENSIONS]).astype(np.float32))


def outlier_scores(nears: Sequence[Near], lacking: Floats | None = None) -> tuple[Floats, Floats]:
    """How strange each photo is to the others; several nets are asked, and the mean counts.

    Args:
        nears: of N photos, as each net sees them.
        lacking: (N,) as `lack_of_evidence` gives it: deviations that are added; None for none.

    Returns:
        (N,) score, 0.5 at SPREADS robust standard deviations beyond the median, 0 is surely strange; (N,) deviations,
        without what is added.
    """
    beyond = np.mean([_robust(1 - near.cosine.mean(axis=1, dtype=np.float64)) for near in nears], axis=0)
    return np.exp2(-np.maximum(beyond + (0 if lacking is None else lacking), 0) / SPREADS), beyond


def lack_of_evidence(evidence: Floats) -> Floats:
    """(N,) robust standard deviations by which the evidence of a vehicle is below the median; 0 where below UNSEEN.

    Args:
        evidence: (N,), higher where a vehicle is seen; NaN where nobody could look, which says nothing.
    """
    seen = np.isfinite(evidence)
    lacking = np.zeros(len(evidence))
    if seen.any():
        lacking[seen] = -_robust(evidence[seen])
    return np.where(lacking > UNSEEN, lacking, 0.0)


def _robust(values: Floats) -> Floats:
    """Deviations from the median, in units of 1.4826 times the median deviation: a standard deviation, if normal.

    Where more than half of the photos are copies the median deviation is next to nothing, and any other photo would be
    millions of it off; sqrt(pi/2) times the mean deviation, a standard deviation too if normal, then stands in.
    """
    off = values - np.median(values)
    middle, mean = 1.4826 * float(np.median(np.abs(off))), np.sqrt(np.pi / 2) * float(np.abs(off).mean())
    spread = mean if middle < HALF_AGREE * mean else middle
    return np.asarray(off / spread if spread > 0 else off)
