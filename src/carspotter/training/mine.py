"""What a pool of photos is good for: where a model is weak, which photos would help, and whether they did.

The photos that judge are those the model held out. They choose nothing that trains: which photos of the pool do follows
from the pool and the model alone (labels, or the teacher's word above a bar), so the verdict on them is fair. What they
do tell is where the model is weak, and so which photos a person should look at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.scan import Scan
from carspotter.errors import SourceError, TrackingError
from carspotter.evaluation.judging import Confusion, Judged, judge
from carspotter.evaluation.metrics import best_first, log_softmax, softmax
from carspotter.evaluation.paired import Paired, mean_difference, pair
from carspotter.inference.predictor import Predictor, load
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Figure, HeldOut, Rejected, Run, Scores, Verdict
from carspotter.tracking.runs import RunStore, open_store
from carspotter.training.gather import Gathered, gather
from carspotter.training.job import Job
from carspotter.training.outside import Sources
from carspotter.training.train import train

HARMLESS = 0.02
"""Loss of accuracy that is no harm. Assumption: two photos of a hundred are what a dealer does not notice."""
Use = Literal["train", "ask", "left out", "stranger", "bad photo"]
Effect = Literal["helped", "did no harm", "harmed", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Pool:
    """What is looked through, and how.

    Attributes:
        photos: labelled ones of the model's classes train under their labels, others where the model is sure.
        unseen: photos of which no near copy may train, such as a contest's test photos.
        retrain: without it nothing is trained.
        settings: `pseudo_bar`, `pseudo_weight`, `outside_weight`, where not as the model's recipe has them.
    """

    photos: Dataset
    unseen: Dataset | None = None
    retrain: bool = True
    settings: Mapping[str, float] = field(default_factory=dict)

    def sources(self, model: Path) -> Sources:
        """What a training takes of it."""
        if self.photos.classes:
            return Sources(extra=(self.photos,), unseen=self.unseen)
        return Sources((), (self.photos,), model, self.unseen)


@dataclass(frozen=True, slots=True)
class Pick:
    """A photo of the pool, and what it is good for.

    Attributes:
        id: of the photo.
        use: `train`: it does, under `label`; `ask`: a person should label it; `left out`: a copy of a photo that must
            stay unseen or that trains already, or a class that the model lacks; `stranger`: it shows nothing that the
            model knows; `bad photo`.
        label: its own or the likeliest class; empty for a bad photo.
        probability: of that class, as the model sees it.
        worth: how much it may teach, in 0..1, the order of the list: the more the model is unsure, between classes that
            it confuses, the more.
        why: one line.
    """

    id: str
    use: Use
    label: str
    probability: float | None
    worth: float
    why: str


@dataclass(frozen=True, slots=True)
class Mined:
    """What a pool is good for.

    Attributes:
        before: the model on the photos that it held out.
        picks: a row per photo of the pool, the most useful first.
        told: how many photos train and why others do not, a sentence per source.
        after: the run that also trained with the pool; None where it was not asked for.
        effect: what that did.
        paired: both on the held-out photos; None without a training.
        log_loss: of the new less that of the old, with its interval.
    """

    before: Judged
    picks: tuple[Pick, ...]
    told: tuple[str, ...]
    after: Run | None = None
    effect: Effect | None = None
    paired: Paired | None = None
    log_loss: Figure | None = None


def mine(
    source: Scan,
    model: Path,
    pool: Pool,
    *,
    out: Path | None = None,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Mined:
    """Look through a pool of photos for a model, train again with what is sure, and judge it.

    Args:
        source: what `look` made of the photos that the model was trained on.
        model: its folder; its run must be at hand.
        pool: what is looked through.
        out: folder of the new model.
        store: of runs.
        cache: of decoded photos.
        progress: told about all of it.

    Raises:
        SourceError: the model was trained on other photos, or held none out.
        TrackingError: its run is not at hand.
        BundleError: the folder is damaged.
        TrainingError: as `train`.
    """
    store, cache = store or open_store(), cache or PhotoCache(default_cache_folder())
    predictor = load(model)
    run, kept = _judged_by(predictor, source, store)
    before = judge(_as_scores(kept), kept.labels, predictor.card.classes, predictor.card.calibration)
    recipe = run.recipe.model_copy(update=dict(pool.settings))
    outside = pool.sources(model)
    photos = gather(source, recipe, outside, cache=cache, progress=progress)
    picks = look_through(predictor, pool.photos, photos, before, cache, progress)
    if not pool.retrain or not photos.outside.photos:
        return Mined(before, picks, photos.outside.sentences)
    after = train(photos, recipe, out=out, job=Job(outside), store=store, cache=cache, progress=progress)
    return _verdict(Mined(before, picks, photos.outside.sentences, after), kept, store.answers(after.id))


def effect_of(difference: Figure) -> Effect:
    """What an interval of a difference in accuracy says.

    Non-inferiority in the sense of G. Piaggio et al., JAMA 308 (2012), 2594-2604, with the margin `HARMLESS`.
    """
    if difference.low > 0:
        return "helped"
    if difference.high < 0:
        return "harmed"
    return "did no harm" if difference.low > -HARMLESS else "cannot tell"


def _judged_by(predictor: Predictor, source: Scan, store: RunStore) -> tuple[Run, HeldOut]:
    card = predictor.card
    where = predictor.bundle.folder
    if card.members > 1:
        raise SourceError(f"{where} was joined from several networks and every photo trained it; name one fold's model")
    if card.dataset != source.dataset.fingerprint:
        raise SourceError(f"{where} was trained on other photos or labels than {source.dataset.origin}; name those")
    run = store.get(card.provenance.run_id)
    if run.validation is None:
        raise SourceError(f"{where} held no photo out, so nothing can judge a retraining; train it with a split")
    try:
        return run, store.answers(run.id)
    except TrackingError as fault:
        raise TrackingError(f"{where}: the answers on its held-out photos are needed: {fault}") from None


def _as_scores(kept: HeldOut) -> Scores:
    return Scores(kept.ids, kept.logits, np.zeros((len(kept.ids), 0), np.float32))


# ---- the pool -------------------------------------------------------------------------------------------------------


def look_through(
    predictor: Predictor, pool: Dataset, photos: Gathered, before: Judged, cache: PhotoCache, progress: Progress
) -> tuple[Pick, ...]:
    """A row per photo of the pool, the most useful first.

    Args:
        predictor: of the model.
        pool: all of its photos.
        photos: what trains.
        before: where the model is weak.
        cache: of decoded photos.
        progress: told about photos.
    """
    scores = predictor.scores(pool, cache=cache, progress=progress)
    strangers = predictor.strangers(pool, scores)
    temperature = 1.0 if predictor.card.calibration is None else predictor.card.calibration.temperature
    shares = softmax(np.asarray(scores.logits, np.float64) / temperature)
    tops = best_first(scores.logits, 2)
    seen = _Seen(
        trains={photo.id: str(photo.label) for photo in photos.outside.photos},
        labels={photo.id: photo.label or "" for photo in pool.photos},
        strangers=strangers,
        classes=predictor.card.classes,
        weak={frozenset((one.truth, one.answered)): one for one in before.confusions},
    )
    rows = [
        seen.pick(photo, share, best, second)
        for photo, share, (best, second) in zip(scores.ids, shares, tops.tolist(), strict=True)
    ]
    rows += [_bad(one) for one in scores.rejected]
    order: Sequence[Use] = ("ask", "train", "stranger", "left out", "bad photo")
    return tuple(sorted(rows, key=lambda row: (order.index(row.use), -row.worth, row.id)))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of the photos of a pool.

    Attributes:
        trains: id → label of those that train.
        labels: id → their own label, or nothing.
        strangers: those that show no class that was taught.
        classes: of the model.
        weak: two classes → how the model confuses them.
    """

    trains: Mapping[str, str]
    labels: Mapping[str, str]
    strangers: Mapping[str, Verdict]
    classes: Sequence[str]
    weak: Mapping[frozenset[str], Confusion]

    def pick(self, photo: str, shares: npt.NDArray[np.float64], best: int, second: int) -> Pick:
        first, other = self.classes[best], self.classes[second]
        confused = self.weak.get(frozenset((first, other)))
        use, why = self._use(photo, first, other, confused)
        label = self.trains.get(photo) or self.labels[photo] or first
        # The margin of T. Scheffer, C. Decomain, S. Wrobel, "Active hidden Markov models", 2001; halved where the two
        # likeliest are not among the classes that are confused.
        margin = float(1 - (shares[best] - shares[second]))
        return Pick(photo, use, label, float(shares[best]), margin if confused else margin / 2, why)

    def _use(self, photo: str, first: str, other: str, confused: Confusion | None) -> tuple[Use, str]:
        own = self.labels[photo]
        if photo in self.trains:
            return "train", "labelled" if own else f"the model is sure: {first}"
        if own:
            copied = "a copy of a photo that trains or must stay unseen, or it cannot be used"
            return "left out", copied if own in self.classes else f"the model does not learn {own}"
        if photo in self.strangers:
            no_car = self.strangers[photo] is Verdict.NOT_A_CAR
            return "stranger", "no car is seen from outside" if no_car else "unlike everything that was taught"
        often = f", which it confuses ({len(confused.photos)} of {confused.of} {confused.truth})" if confused else ""
        return "ask", f"{first} or {other}{often}"


def _bad(rejected: Rejected) -> Pick:
    return Pick(rejected.id, "bad photo", "", None, 0.0, f"{rejected.reason.value}: {rejected.sentence}")


# ---- the verdict ----------------------------------------------------------------------------------------------------


def _verdict(mined: Mined, old: HeldOut, new: HeldOut) -> Mined:
    """Both nets on the photos that neither trained with."""
    at = {photo: i for i, photo in enumerate(new.ids)}
    shared = [i for i, photo in enumerate(old.ids) if photo in at]
    there = [at[old.ids[i]] for i in shared]
    numbers = np.arange(len(shared))
    right = [one.logits[rows].argmax(1) == one.labels[rows] for one, rows in ((old, shared), (new, there))]
    found = pair(numbers, right[0], numbers, right[1])
    losses = [
        -log_softmax(one.logits[rows].astype(np.float64))[numbers, one.labels[rows]]
        for one, rows in ((old, shared), (new, there))
    ]
    loss, _ = mean_difference(losses[1] - losses[0])
    return replace(mined, effect=effect_of(found.difference), paired=found, log_loss=loss)
