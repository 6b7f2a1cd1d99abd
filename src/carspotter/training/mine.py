"""What a pool of photos is good for: where a model is weak, which photos would help, and whether they did.

The photos that judge are those the model held out. Which photos of the pool train follows from the pool and the model
alone (labels, or the teacher's word above a bar); of the judging photos no more than a temperature and a bound went
into it. They do tell where the model is weak, and so which photos a person should look at first: who labels these and
mines again is judged by photos that helped to choose, if only a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.classes import same_classes
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan
from carspotter.data.wording import count
from carspotter.errors import RecipeError, SourceError, TrackingError
from carspotter.evaluation.judging import Confusion, Judged, judge
from carspotter.evaluation.metrics import best_first, log_losses
from carspotter.evaluation.paired import Paired, mean_difference, pair
from carspotter.inference.bundle import check_target
from carspotter.inference.examination import LEAST
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.runtime import RuntimeName
from carspotter.progress import Progress, silent
from carspotter.records import Birth, Dataset, Figure, HeldOut, Rejected, Run, Verdict
from carspotter.tracking.held_out import groups_of
from carspotter.tracking.runs import RunStore, open_store
from carspotter.training.gather import Gathered, gather
from carspotter.training.job import Job
from carspotter.training.outside import Sources, must_be_few
from carspotter.training.survey import Survey
from carspotter.training.teacher import shares_of
from carspotter.training.train import train
from carspotter.workers import processes

HARMLESS = 0.02
"""Loss of accuracy that is no harm. Assumption: two photos of a hundred are what a dealer does not notice."""
Use = Literal["train", "ask", "left out", "stranger", "bad photo"]
Effect = Literal["helped", "did no harm", "harmed", "cannot tell"]
ORDER: Sequence[Use] = ("ask", "train", "stranger", "left out", "bad photo")


@dataclass(frozen=True, slots=True)
class Pool:
    """What is looked through, and how.

    Attributes:
        photos: labelled ones of the model's classes train under their labels, others where the model is sure.
        unseen: photos of which no near copy may train, such as a contest's test photos.
        settings: `pseudo_bar`, `pseudo_weight`, `outside_weight`, where not as the model's recipe has them.
    """

    photos: Dataset
    unseen: Dataset | None = None
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
        use: `train`: it does, under `label`; `ask`: a person should label it; `left out`: a near copy of a photo that
            trains, judges or must stay unseen, or a class that the model lacks; `stranger`: it shows nothing that the
            model knows; `bad photo`.
        label: what it trains as, its own label, or the likeliest class; empty for a bad photo.
        probability: of that class, as the model sees it; None where it has no such class.
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
class Prospect:
    """What a pool is good for, before anything is trained.

    Attributes:
        model: the folder of the model.
        run: that trained it.
        kept: what it said of the photos that it held out.
        before: the same, judged.
        picks: a row per photo of the pool, the most useful first.
        photos: what would train.
        outside: where it comes from.
    """

    model: Path
    run: Run
    kept: HeldOut
    before: Judged
    picks: tuple[Pick, ...]
    photos: Gathered
    outside: Sources


@dataclass(frozen=True, slots=True)
class Mined:
    """What training with a pool did.

    Attributes:
        run: the new training.
        effect: in a word.
        paired: both models on the photos that neither trained with.
        log_loss: of the new less that of the old, with its interval.
    """

    run: Run
    effect: Effect
    paired: Paired
    log_loss: Figure


def prospect(
    source: Scan,
    model: Path,
    pool: Pool,
    *,
    runtime: RuntimeName = "onnxruntime",
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Prospect:
    """Look through a pool of photos for a model; nothing is trained.

    Args:
        source: what `look` made of the photos that the model was trained on.
        model: its folder; its run must be at hand.
        pool: what is looked through.
        runtime: who computes.
        store: of runs.
        cache: of decoded photos.
        progress: told about all of it.

    Raises:
        SourceError: the model was trained on other photos too, or held fewer than two out.
        TrackingError: its run is not at hand.
        BundleError: the folder is damaged.
        RecipeError: several processes were started.
    """
    if processes() > 1:
        raise RecipeError(f"a pool is looked through by one process, not {processes()}; start it without a launcher")
    must_be_few(pool.photos)
    store, cache = store or open_store(), cache or PhotoCache(default_cache_folder())
    predictor = load(model, runtime=runtime)
    run, kept = _judged_by(predictor, source, store)
    card = predictor.card
    before = judge(
        kept.as_scores(), kept.labels, card.classes, card.calibration, parents=card.parents, groups=kept.groups
    )
    outside = pool.sources(model)
    recipe = run.recipe.model_copy(update=dict(pool.settings))
    source = replace(source, dataset=replace(source.dataset, parents=card.parents))
    survey = Survey(predictor, pool.photos, pool.unseen, cache=cache, progress=progress)
    photos = gather(source, recipe, replace(outside, survey=survey), cache=cache, progress=progress)
    picks = _look_through(survey, photos, before)
    return Prospect(model, run, kept, before, picks, photos, outside)


def retrain(
    found: Prospect,
    pool: Pool,
    *,
    out: Path | None = None,
    store: RunStore | None = None,
    cache: PhotoCache | None = None,
    progress: Progress = silent,
) -> Mined:
    """Train again as the model was, with what of the pool is sure, and judge both.

    Args:
        found: some photos of the pool must train.
        pool: as for `prospect`.
        out: folder of the new model; not that of the old one.
        store: of runs.
        cache: of decoded photos.
        progress: told about all of it.

    Raises:
        SourceError: no photo of the pool may train, or the new model would replace the one it is compared with.
        TrackingError, BundleError, TrainingError: as `train`.
    """
    if not found.photos.outside.photos:
        raise SourceError("no photo of the pool may train; the table says why of each")
    if out is not None:
        check_place(out, found.model)
    store, recipe = store or open_store(), found.run.recipe.model_copy(update=dict(pool.settings))
    run = train(found.photos, recipe, out=out, job=Job(found.outside), store=store, cache=cache, progress=progress)
    return _verdict(run, found.kept, store.answers(run.id))


def check_place(out: Path, model: Path) -> None:
    """Pass when the new model can be written there; ask before the pool is read.

    Args:
        out: folder of the new model.
        model: folder of the old one.

    Raises:
        SourceError: they are one folder.
        BundleError: as `check_target`.
    """
    if out.resolve() == model.resolve():
        raise SourceError(f"{out} is the model that the new one is compared with; name another folder")
    check_target(out)


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
    card, where = predictor.card, predictor.bundle.folder
    if card.members > 1:
        raise SourceError(f"{where} was joined from several networks and every photo trained it; name one fold's model")
    if card.dataset != source.dataset.fingerprint:
        raise SourceError(f"{where} was trained on other photos or labels than {source.dataset.origin}; name those")
    run = store.get(card.provenance.run_id)
    if (run.birth or Birth()).had_help:
        raise SourceError(
            f"{where} was trained with photos from outside or by a teacher already, and what the pool adds could not "
            f"be told from that; name a model of {source.dataset.origin} alone"
        )
    if run.validation is None:
        raise SourceError(f"{where} held no photo out, so nothing can judge a retraining; train it with a split")
    try:
        kept = store.answers(run.id)
    except TrackingError as fault:
        raise TrackingError(f"{where}: the answers on its held-out photos are needed: {fault}") from None
    if len(kept.ids) < LEAST:
        raise SourceError(
            f"{where} held {count(len(kept.ids), 'photo')} out; judging needs {LEAST} or more: train it with more "
            "photos, or hold more of them out (--set split.share=0.3)"
        )
    return run, kept


# ---- the pool -------------------------------------------------------------------------------------------------------


def _look_through(survey: Survey, photos: Gathered, before: Judged) -> tuple[Pick, ...]:
    """A row per photo of the pool, the most useful first."""
    pool, scores, card = survey.photos, survey.scores, survey.predictor.card
    shares, tops = shares_of(scores, card), best_first(scores.logits, 2)
    known = same_classes(pool, photos.looked.dataset) if pool.classes else pool
    weak: dict[frozenset[str], Confusion] = {}
    for one in before.confusions:  # the more frequent direction first
        weak.setdefault(frozenset((one.truth, one.answered)), one)
    seen = _Seen(
        trains={photo.id: str(photo.label) for photo in photos.outside.photos},
        labels={photo.id: photo.label or "" for photo in (*pool.photos, *known.photos)},
        copies=_copies(survey, photos),
        strangers=survey.strangers,
        classes=card.classes,
        weak=weak,
    )
    rows = [
        seen.pick(photo, share, best, second)
        for photo, share, (best, second) in zip(scores.ids, shares, tops.tolist(), strict=True)
    ]
    rows += [_bad(one) for one in scores.rejected]
    return tuple(sorted(rows, key=lambda row: (ORDER.index(row.use), -row.worth, row.id)))


def _copies(survey: Survey, photos: Gathered) -> frozenset[str]:
    """Photos of the pool that are near copies of the source's own, or of photos that must stay unseen."""
    here: Sequence[PhotoFacts] = (*photos.looked.facts, *survey.unseen_facts)
    facts = survey.looked.facts
    groups = near_duplicates([*here, *facts])
    taken = set(groups[: len(here)].tolist())
    return frozenset(fact.id for fact, group in zip(facts, groups[len(here) :].tolist(), strict=True) if group in taken)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of the photos of a pool.

    Attributes:
        trains: id → label of those that train.
        labels: id → their own label, under the model's name where it has that class; or nothing.
        copies: near copies of what trains, judges or must stay unseen.
        strangers: those that show no class that was taught.
        classes: of the model.
        weak: two classes → how the model confuses them.
    """

    trains: Mapping[str, str]
    labels: Mapping[str, str]
    copies: frozenset[str]
    strangers: Mapping[str, Verdict]
    classes: Sequence[str]
    weak: Mapping[frozenset[str], Confusion]

    def pick(self, photo: str, shares: npt.NDArray[np.float64], best: int, second: int) -> Pick:
        first, other = self.classes[best], self.classes[second]
        confused = self.weak.get(frozenset((first, other)))
        use, why = self._use(photo, first, other, confused)
        label = self.trains.get(photo) or self.labels[photo] or first
        share = float(shares[self.classes.index(label)]) if label in self.classes else None
        # The margin of T. Scheffer, C. Decomain, S. Wrobel, "Active hidden Markov models", 2001; halved where the two
        # likeliest are not among the classes that are confused.
        margin = float(1 - (shares[best] - shares[second]))
        return Pick(photo, use, label, share, margin if confused else margin / 2, why)

    def _use(self, photo: str, first: str, other: str, confused: Confusion | None) -> tuple[Use, str]:
        own = self.labels[photo]
        if photo in self.trains:
            return "train", f"labelled; the model says {first}" if own else "the model is sure"
        if photo in self.copies:
            return "left out", "a near copy of a photo that trains, judges or must stay unseen"
        if own:
            again = "a copy of another photo of the pool"
            return "left out", again if own in self.classes else f"the model does not learn {own}"
        if photo in self.strangers:
            no_car = self.strangers[photo] is Verdict.NOT_A_CAR
            return "stranger", "no car is seen from outside" if no_car else "unlike everything that was taught"
        often = f", which it confuses ({len(confused.photos)} of {confused.of} {confused.truth})" if confused else ""
        return "ask", f"{first} or {other}{often}"


def _bad(rejected: Rejected) -> Pick:
    return Pick(rejected.id, "bad photo", "", None, 0.0, f"{rejected.reason.value}: {rejected.sentence}")


# ---- the verdict ----------------------------------------------------------------------------------------------------


def _verdict(run: Run, old: HeldOut, new: HeldOut) -> Mined:
    """Both nets on the photos that neither trained with."""
    at = {photo: i for i, photo in enumerate(new.ids)}
    shared = [i for i, photo in enumerate(old.ids) if photo in at]
    there = [at[old.ids[i]] for i in shared]
    numbers = np.arange(len(shared))
    right = [one.logits[rows].argmax(1) == one.labels[rows] for one, rows in ((old, shared), (new, there))]
    losses = [log_losses(one.logits[rows], one.labels[rows]) for one, rows in ((old, shared), (new, there))]
    groups = groups_of([old.ids[i] for i in shared], (old, new))
    found = pair(numbers, right[0], numbers, right[1], groups)
    loss, _ = mean_difference(losses[1] - losses[0], groups)
    return Mined(run, effect_of(found.difference), found, loss)
