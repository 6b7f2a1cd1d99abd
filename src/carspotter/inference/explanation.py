"""Why a net names one class rather than another, for one photo: the map, and a check of the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carspotter.data.framing import decode_size, framed
from carspotter.data.photo import decode, read_bytes
from carspotter.data.wording import brief, some
from carspotter.errors import BundleError, SourceError
from carspotter.evaluation.answer import answer
from carspotter.evaluation.deletion import drawn, hide, hottest_first
from carspotter.evaluation.explain import Floats, HeadRows, Pooling, agrees, heatmap, lay_out
from carspotter.evaluation.metrics import best_first
from carspotter.inference.bundle import Bundle
from carspotter.inference.predictor import Predictor
from carspotter.inference.reference import Reference, read_head_rows
from carspotter.inference.runtime import Outputs
from carspotter.records import Answer, Dataset, Geometry, Photo, Pixels, Scores

SHOWN_PIXELS = 640
"""Width at which a photo is shown. Assumption: two of them side by side fill a page."""
HIDDEN = 0.2
"""Share of the photo that the check hides. Assumption: a car's telling parts take less."""
DRAWS = 8
"""Hidden parts drawn by chance, to compare with. Assumption: their mean then wavers by a third of one's spread."""
LARGEST_SIDE = 2048
"""Pixels, as `Geometry` allows."""

Gradients = Callable[[Bundle, Pixels, int, int], Floats]
"""(bundle, view, answer, other class) → what each cell of the feature map adds, as `evaluation.explain.heatmap`."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a photo is one class rather than another, for its net.

    Attributes:
        answer: what the net says of the photo.
        named: the class that the map speaks for, where it is above 0.
        against: the other.
        lead: logit of `named` minus that of `against`.
        cells: (h, w) what each cell adds to the lead; their mean is `seen`.
        exact: whether the head is linear, so that lead = seen + placeless + a difference of biases.
        hottest_hidden: the lead with the hottest fifth of the cells hidden.
        drawn_hidden: the same for a fifth drawn by chance, mean of several.
        view: (H, W, 3) what the net saw, larger.
        embedding: (D,) of the photo.
        placeless: what a transformer's tokens that stand for no place of the photo add to the lead.
    """

    answer: Answer
    named: int
    against: int
    lead: float
    cells: Floats
    exact: bool
    hottest_hidden: float
    drawn_hidden: float
    view: Pixels
    embedding: npt.NDArray[np.float32]
    placeless: float = 0.0

    @property
    def seen(self) -> float:
        """The part of the lead that lies in places of the photo."""
        return float(self.cells.mean())


def explain(
    predictor: Predictor,
    photo: Photo,
    *,
    reference: Reference | None = None,
    against: str | None = None,
    gradients: Gradients | None = None,
) -> Explanation:
    """Where the net sees its answer rather than another class.

    Args:
        predictor: the net.
        photo: to explain.
        reference: of the same bundle; its head rows are taken where it has them.
        against: the other class; None takes the runner-up.
        gradients: what is asked where the head is not linear.

    Raises:
        PhotoRefused: the photo cannot be used.
        SourceError: there is no such class, or it is the answer itself.
        BundleError: the head is not linear and no gradients are given, the net has no map, or the bundle is unsound.
    """
    card = predictor.card
    pixels = predictor.decoded(photo)
    view = predictor.view(pixels)
    found = predictor.outputs(view)
    named, other = _pair(found, card.classes, against)
    rows = _rows(predictor.bundle, reference, found)
    if rows is not None and found.feature_map is not None:
        cells = heatmap(found.feature_map[0], rows.weight[named], rows.weight[other], _pooling(predictor.bundle))
    elif gradients is not None:
        cells = gradients(predictor.bundle, view, named, other)
    else:
        raise BundleError(
            f"{predictor.bundle.folder}: its head is not linear, so its map needs gradients, that is torch"
        )
    of_all = float(cells.mean())
    cells = _placed(predictor.bundle, cells)
    hottest, by_chance = _hidden(predictor, view, cells, named, other)
    scores = Scores((photo.id,), found.logits, found.embeddings)
    strangers = predictor.strangers(Dataset((photo,)), scores)
    return Explanation(
        answer=answer(scores, card.classes, card.calibration, (photo.id,), strangers, card.parents)[0],
        named=named,
        against=other,
        lead=_lead(found, named, other),
        cells=cells,
        exact=rows is not None,
        hottest_hidden=hottest,
        drawn_hidden=by_chance,
        view=_shown(predictor, photo, pixels),
        embedding=found.embeddings[0],
        placeless=of_all - float(cells.mean()),
    )


def _pair(found: Outputs, classes: tuple[str, ...], against: str | None) -> tuple[int, int]:
    """The answer's index, and that of the class it is compared with."""
    named, runner_up = (int(at) for at in best_first(found.logits, 2)[0])
    if against is None:
        return named, runner_up
    if against not in classes:
        raise SourceError(f"the model knows no class {brief(against)!r}; it knows {some(classes, 12)}")
    if (other := classes.index(against)) == named:
        raise SourceError(f"{brief(against)!r} is the model's own answer; name another class, or none")
    return named, other


def _pooling(bundle: Bundle) -> Pooling:
    """How the map becomes a vector; a net's `own` way is often the plain mean, which `agrees` then confirms."""
    pooling = bundle.card.recipe.head.pooling
    return "avg" if pooling == "own" else pooling


def _rows(bundle: Bundle, reference: Reference | None, found: Outputs) -> HeadRows | None:
    """The head rows, proven on this very photo; None where the head is not linear."""
    rows = reference.rows if reference is not None else None
    rows = rows or read_head_rows(bundle)
    if rows is None or found.feature_map is None:
        return None
    if agrees(found.feature_map[0], rows, found.logits[0], _pooling(bundle)):
        return rows
    if bundle.card.recipe.head.pooling == "own":
        return None
    raise BundleError(
        f"{bundle.folder}: its head rows do not give the logits of its net; copy the folder again, or train again"
    )


def _placed(bundle: Bundle, cells: Floats) -> Floats:
    geometry = bundle.card.geometry
    placed = lay_out(cells, geometry.height, geometry.width)
    if placed is None:
        raise BundleError(
            f"{bundle.folder}: its net makes {cells.size} tokens of {geometry}, which fit no grid of patches, so there "
            "is no map; train a net that has one"
        )
    return placed


def _lead(found: Outputs, named: int, other: int) -> float:
    return float(found.logits[0, named] - found.logits[0, other])


def _hidden(predictor: Predictor, view: Pixels, cells: Floats, named: int, other: int) -> tuple[float, float]:
    """The lead with the hottest part hidden, and the mean lead with as large a part hidden by chance."""
    rng, shape = np.random.default_rng(0), (cells.shape[0], cells.shape[1])
    orders = [hottest_first(cells), *(drawn(shape, rng) for _ in range(DRAWS))]
    leads = [_lead(predictor.outputs(hide(view, order, HIDDEN)), named, other) for order in orders]
    return leads[0], float(np.mean(leads[1:]))


def _shown(predictor: Predictor, photo: Photo, pixels: Pixels) -> Pixels:
    """The view, larger: of finer pixels than the net's, but not where a finder might then see another car in them."""
    larger = _larger(predictor.card.geometry)
    if predictor.finder is None:
        pixels = decode(read_bytes(photo.where), at_least=decode_size(larger)).pixels
    return framed(pixels, larger, predictor.finder)


def _larger(geometry: Geometry) -> Geometry:
    """The same rectangle in whole multiples, wide enough to look at."""
    times = max(1, min(SHOWN_PIXELS // geometry.width, LARGEST_SIDE // max(geometry.height, geometry.width)))
    return geometry.model_copy(update={"height": times * geometry.height, "width": times * geometry.width})
