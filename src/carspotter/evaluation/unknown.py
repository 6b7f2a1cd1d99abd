"""How strange a photo is to a net: detectors of cars it was never taught, and of photos that show none.

Every detector gives one number per photo, higher is stranger. Which one serves is decided by leaving known classes out
in turn, never by looking at strangers first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.shares import Z_95
from carspotter.evaluation.sphere import F, squared_distances, unit
from carspotter.records import Figure

NEIGHBOURS = 5
"""The distance to so many nearest photos is averaged. Assumption: the smallest classes have about ten photos."""
SHRINK = 0.1
"""Share of the mean variance in a covariance. Assumption: photos are fewer than dimensions, so it cannot do without."""
KEPT_VARIANCE = 0.9
"""Share of variance that ViM calls the principal space. Assumption: where photos are fewer than dimensions, their count
cannot choose it as the paper's table does."""
CHUNK = 4_000_000
"""Distances computed at once: 16 MB in f32, 32 MB in f64, a few times over."""

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The known photos that strangers are measured against.

    Attributes:
        embeddings: (M, D) of training photos.
        labels: (M,) class indices, 0..K-1, each at least once.
        logits: (M, K) of the same photos; only `vim` asks for them.
    """

    embeddings: Floats
    labels: Index
    logits: Floats | None = None


Detector = Callable[[Known, Floats, Floats], Floats]
"""(reference, embeddings (N, D), logits (N, K)) → (N,) strangeness, higher is stranger."""


def max_softmax(_: Known, __: Floats, logits: Floats) -> Floats:
    """1 - the largest probability (Hendrycks & Gimpel 2017)."""
    return np.asarray(1 - softmax(logits).max(1))


def max_logit(_: Known, __: Floats, logits: Floats) -> Floats:
    """Minus the largest logit (Hendrycks et al. 2022)."""
    return np.asarray(-logits.max(1))


def energy(_: Known, __: Floats, logits: Floats) -> Floats:
    """Minus the log-sum-exp of the logits (Liu et al. 2020)."""
    return -np.asarray(np.logaddexp.reduce(logits, axis=1))


def mahalanobis(known: Known, embeddings: Floats, _: Floats) -> Floats:
    """Squared distance to the nearest class mean under one shrunk covariance (Lee et al. 2018)."""
    means, root = _gaussians(known)
    return np.asarray(_squares(embeddings @ root, means @ root).min(1))


def relative_mahalanobis(known: Known, embeddings: Floats, logits: Floats) -> Floats:
    """The same less the distance to the mean of all, for strangers of near kind (Ren et al. 2021)."""
    centre = known.embeddings.mean(0, keepdims=True)
    whole = _root(known.embeddings - centre)
    return np.asarray(mahalanobis(known, embeddings, logits) - _squares(embeddings @ whole, centre @ whole)[:, 0])


def knn(known: Known, embeddings: Floats, _: Floats) -> Floats:
    """Mean distance to the nearest known photos on the unit sphere (Sun et al. 2022)."""
    return neighbour_distances(unit(known.embeddings), unit(embeddings))


def neighbour_distances(known: npt.NDArray[F], asked: npt.NDArray[F]) -> Floats:
    """Mean distance of each row to the `NEIGHBOURS` nearest known ones, or to all of fewer.

    Args:
        known: (M, D) rows of length 1, at least one.
        asked: (N, D) rows of length 1.
    """
    count, rows = min(NEIGHBOURS, len(known)), max(1, CHUNK // len(known))
    found = np.empty(len(asked))
    for at in range(0, len(asked), rows):
        squares = squared_distances(asked[at : at + rows], known)
        found[at : at + rows] = np.sqrt(np.partition(squares, count - 1, axis=1)[:, :count]).mean(1)
    return found


def vim(known: Known, embeddings: Floats, logits: Floats) -> Floats:
    """What lies outside the principal space of the known, beside the logits' energy (Wang et al. 2022)."""
    centre = known.embeddings.mean(0)
    values, vectors = np.linalg.eigh(np.cov(known.embeddings - centre, rowvar=False))
    outside = vectors[:, : int((np.cumsum(values) < (1 - KEPT_VARIANCE) * values.sum()).sum()) + 1]
    residual = np.linalg.norm((embeddings - centre) @ outside, axis=1)
    typical = np.linalg.norm((known.embeddings - centre) @ outside, axis=1).mean()
    if known.logits is None:
        raise ValueError("vim needs the logits of the known photos")
    scale = known.logits.max(1).mean() / max(typical, 1e-12)
    return np.asarray(residual * scale + energy(known, embeddings, logits))


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "max softmax": max_softmax,
        "max logit": max_logit,
        "energy": energy,
        "mahalanobis": mahalanobis,
        "relative mahalanobis": relative_mahalanobis,
        "knn": knn,
        "vim": vim,
    }
)

SHIPPED = "knn"
"""The detector that bundles carry; `inference/strangers.py` is its use, docs/log.md (2026-11-26) how it was chosen."""


def auroc(known: Floats, strange: Floats) -> Figure:
    """How often a stranger looks stranger than a known photo; .5 is chance, 1 is best.

    The rank statistic of Mann and Whitney (1947). The interval is R. G. Newcombe's method 5 ("Confidence intervals for
    an effect size measure based on the Mann-Whitney statistic", Statistics in Medicine 25 (2006), 559-573): where all
    pairs are in order, it still tells five photos from five hundred, as resampling cannot.

    Args:
        known: (N,) strangeness of known photos.
        strange: (M,) of strangers.

    Raises:
        ValueError: a set is empty.
    """
    if not len(known) or not len(strange):
        raise ValueError(f"{len(known)} known and {len(strange)} strange photos; both sets need at least one")
    value = _auroc(known, strange)
    low = _where_off(value, 0.0, len(known), len(strange))
    high = _where_off(value, 1.0, len(known), len(strange))
    return Figure(value=value, low=min(value, low), high=max(value, high), n=len(known) + len(strange))


def strangeness_bound(known: Floats, refused: float) -> float:
    """The strangeness above which at most that share of known photos lies; inf where they are too few to tell.

    The same rank as in split conformal prediction, so the promise holds for the next known photo too. None of `known`
    may be in the detector's reference: a photo is no stranger to itself.
    """
    rank = int(np.ceil((len(known) + 1) * (1 - refused)))
    return float("inf") if rank > len(known) else float(np.sort(known)[rank - 1])


def _where_off(value: float, end: float, known: int, strange: int) -> float:
    """The area on one side of `value` that is just Z_95 standard errors of its own away from it, by bisection."""
    middle = (known + strange) / 2 - 1
    near, far = value, end
    for _ in range(60):
        area = (near + far) / 2
        spread = area * (1 - area) / (known * strange)
        spread *= 1 + middle * (1 - area) / (2 - area) + middle * area / (1 + area)
        if abs(area - value) < Z_95 * spread**0.5:
            near = area
        else:
            far = area
    return near


def _auroc(known: Floats, strange: Floats) -> float:
    ordered = np.sort(known)
    below, upto = np.searchsorted(ordered, strange, "left"), np.searchsorted(ordered, strange, "right")
    return float((below + upto).mean() / 2 / len(known))


def _gaussians(known: Known) -> tuple[Floats, Floats]:
    """(K, D) class means, and (D, D) the root of the inverse of the covariance they share."""
    kinds = np.unique(known.labels)
    means = np.stack([known.embeddings[known.labels == kind].mean(0) for kind in kinds])
    return means, _root(known.embeddings - means[np.searchsorted(kinds, known.labels)])


def _root(centred: Floats) -> Floats:
    """(D, D) root of the inverse of a covariance that is shrunk towards a ball."""
    covariance = centred.T @ centred / len(centred)
    ball = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh((1 - SHRINK) * covariance + SHRINK * max(ball, 1e-12) * np.eye(len(covariance)))
    return np.asarray(vectors / np.sqrt(values))


def _squares(a: Floats, b: Floats) -> Floats:
    """(N, M) squared Euclidean distances of (N, D) and (M, D)."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))
