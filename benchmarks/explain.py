"""Whether maps tell the truth about a net on real photos: deletion curves of ours, of chance, and of the coldest first.

    python benchmarks/explain.py MODEL SOURCE [photos]

Cells of the feature map are hidden in fifths, and the lead of the answer over the runner-up is measured through the
whole net. The figure is the area under the curves of all photos as a share of their whole leads: 1 means that hiding
changes nothing, lower is better. Chance is the mean of three orders; intervals resample photos (95 %).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from carspotter.data.photo import decode, read_bytes
from carspotter.data.source import read_source
from carspotter.data.views import fit
from carspotter.evaluation.deletion import area, deletion_curve, drawn, hottest_first
from carspotter.evaluation.explain import heatmap
from carspotter.evaluation.metrics import best_first
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.reference import read_head_rows
from carspotter.records import Photo, Pixels

ORDERS = 3
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PHOTOS = 50
RESAMPLES = 10_000
NAMES = ("hottest first", "by chance", "coldest first")


def main(model: str, source: str, count: int) -> None:
    predictor = load(model, threads=1)
    photos = read_source(source).photos
    some = [photos[int(i)] for i in np.random.default_rng(0).permutation(len(photos))[:count]]
    found = np.array([areas(predictor, photo) for photo in some])
    print(f"{len(some)} photos of {source}, {predictor.card.name} {predictor.card.geometry}")
    leads, curves = found[:, :1], found[:, 1:]
    drawn_photos = np.random.default_rng(0).integers(0, len(found), (RESAMPLES, len(found)))
    shares = curves[drawn_photos].sum(1) / leads[drawn_photos].sum(1)
    value = curves.sum(0) / leads.sum(0)
    for name, one, (low, high) in zip(NAMES, value, np.quantile(shares, (0.025, 0.975), axis=0).T, strict=True):
        print(f"{name:16}{one:.3f} [{low:.3f}, {high:.3f}]")
    low, high = np.quantile(shares[:, 1] - shares[:, 0], (0.025, 0.975))
    print(f"{'chance - hottest':17}{value[1] - value[0]:.3f} [{low:.3f}, {high:.3f}]")
    print(f"hottest first is below chance in {(curves[:, 0] < curves[:, 1]).sum()} of {len(found)} photos")


def areas(predictor: Predictor, photo: Photo) -> tuple[float, float, float, float]:
    """The lead, then the areas: hottest first, by chance, coldest first."""
    view = fit(decode(read_bytes(photo.where)).pixels, predictor.card.geometry)
    found, rows = predictor.outputs(view), read_head_rows(predictor.bundle)
    if rows is None or found.feature_map is None:
        raise SystemExit("this benchmark takes a model with a linear head")
    a, b = (int(at) for at in best_first(found.logits, 2)[0])
    cells, rng = heatmap(found.feature_map[0], rows.weight[a], rows.weight[b]), np.random.default_rng(0)
    say = partial(lead, predictor, a, b)
    by_chance = [curve(say, view, drawn(cells.shape, rng)) for _ in range(ORDERS)]
    hot, cold = (curve(say, view, hottest_first(sign * cells)) for sign in (1, -1))
    return say(view), hot, float(np.mean(by_chance)), cold


def lead(predictor: Predictor, a: int, b: int, pixels: Pixels) -> float:
    logits = predictor.outputs(pixels).logits[0]
    return float(logits[a] - logits[b])


def curve(say: Callable[[Pixels], float], view: Pixels, order: np.ndarray) -> float:
    return area(deletion_curve(say, view, order, SHARES))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else PHOTOS)
