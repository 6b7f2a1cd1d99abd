"""Outside photos: labelled ones of another source that may train, never validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carspotter.data.classes import same_classes
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan, scan
from carspotter.data.wording import brief
from carspotter.errors import SourceError
from carspotter.progress import Progress
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Photo, Split
from carspotter.training.look import name_refused, sentence_of
from carspotter.training.survey import Survey
from carspotter.training.teacher import Teacher

MAX_PHOTOS = 50_000
"""Photos of one outside source that are looked at. Assumption: two cores read them in minutes, but a teacher that sees
some ten photos a second names them in hours, and what is kept of each (scores, pictures) then takes half a gigabyte."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where photos from outside come from.

    Attributes:
        extra: labelled photos.
        unlabelled: photos that `teacher` labels where it is sure.
        teacher: a model folder; it labels, and where the recipe says so its probabilities are learned too.
        unseen: photos of which no near copy may train, such as a contest's test photos.
        survey: of the only source and of `unseen`, so that nothing is asked twice; its model is `teacher` where
            photos are unlabelled. None: nobody keeps what is found out.
    """

    extra: tuple[Dataset, ...] = ()
    unlabelled: tuple[Dataset, ...] = ()
    teacher: Path | None = None
    unseen: Dataset | None = None
    survey: Survey | None = None

    def __post_init__(self) -> None:
        if self.survey is not None:
            surveyed = (self.survey.photos,), self.survey.unseen
            assert surveyed == ((*self.extra, *self.unlabelled), self.unseen), "a survey of other photos"  # noqa: S101


ALONE = Sources()


@dataclass(frozen=True, slots=True)
class Offer:
    """What one outside source offers.

    Attributes:
        scan: its photos of the dataset's classes, looked at.
        weight: how much each counts in the loss.
        foreign: photos of classes that the dataset lacks, which were not looked at.
    """

    scan: Scan
    weight: float
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class Outside:
    """Photos from other sources, ready to train.

    Attributes:
        photos: labelled with classes of the dataset they join.
        weights: how much each counts in the loss; the source's own count 1.
        sentences: one per source: how many came, and why others did not; and one on the teacher whose word is learned.
        refused: photos that cannot be used: source, id, reason and cure, a sentence each.
    """

    photos: tuple[Photo, ...] = ()
    weights: tuple[float, ...] = ()
    sentences: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def join(
    sources: Sources,
    looked: Scan,
    divided: Split,
    recipe: Recipe,
    teacher: Teacher | None,
    *,
    strict: bool = False,
    progress: Progress,
) -> Outside:
    """Outside photos that may train; held-out and test photos, and near copies of them, never do.

    Raises:
        SourceError: a source shares no class, nobody labels it, or (strict) photos of it cannot be used.
    """
    offers = [_labelled(extra, looked.dataset, recipe, sources.survey, progress) for extra in sources.extra]
    for pool in sources.unlabelled:
        if teacher is None:
            raise SourceError(f"{pool.origin} has no labels that are believed; name a model that labels it (--teacher)")
        found = _looked_at(teacher.labels(pool, recipe.pseudo_bar), sources.survey, progress, pool.origin)
        offers.append(Offer(found, recipe.pseudo_weight))
    if not offers:
        return Outside()
    names = [dataset.origin for dataset in (*sources.extra, *sources.unlabelled)]
    refused = tuple(
        sentence_of(row, brief(name))
        for name, offer in zip(names, offers, strict=True)
        for row in offer.scan.dataset.rejected
    )
    if strict and refused:
        raise SourceError(refused)
    held_out = set(divided.validation)
    never = [fact for fact in looked.facts if fact.id in held_out]
    inside = [fact for fact in looked.facts if fact.id not in held_out]
    return replace(choose(offers, inside, [*never, *_unseen(sources, progress)]), refused=refused)


def _unseen(sources: Sources, progress: Progress) -> tuple[PhotoFacts, ...]:
    if sources.survey is not None:
        return sources.survey.unseen_facts
    return scan(sources.unseen, progress=progress).facts if sources.unseen else ()


def _labelled(extra: Dataset, dataset: Dataset, recipe: Recipe, survey: Survey | None, progress: Progress) -> Offer:
    """Photos whose labels are believed, looked at unless their class is foreign."""
    known = same_classes(extra, dataset)
    must_be_few(known)
    found = _looked_at(known, survey, progress, extra.origin)
    return Offer(found, recipe.outside_weight, len(extra.photos) - len(known.photos))


def _looked_at(dataset: Dataset, survey: Survey | None, progress: Progress, name: str) -> Scan:
    """What can be used of an outside source of this name; the rest is named."""
    found = scan(dataset, progress=progress) if survey is None else survey.scan_of(dataset)
    name_refused(found.dataset.rejected, len(dataset.photos), progress, brief(name))
    return found


def must_be_few(dataset: Dataset) -> None:
    """Refuse an outside source that would take hours.

    Raises:
        SourceError: it has too many photos.
    """
    if len(dataset.photos) > MAX_PHOTOS:
        raise SourceError(
            f"{dataset.origin}: {len(dataset.photos):,} outside photos would have to be looked at, {MAX_PHOTOS:,} are "
            "allowed; name a part of them"
        )


def choose(offers: Sequence[Offer], inside: Sequence[PhotoFacts], never: Sequence[PhotoFacts]) -> Outside:
    """The outside photos that may train: none that is a near copy of another one, of a held-out or a test photo.

    Args:
        offers: one per source.
        inside: facts of the photos that train anyway.
        never: facts of the photos that must stay unseen: held-out and test photos.
    """
    facts = [*never, *inside, *(fact for offer in offers for fact in offer.scan.facts)]
    groups: list[int] = near_duplicates(facts).tolist()
    start = len(never) + len(inside)
    unseen, taken = set(groups[: len(never)]), set(groups[len(never) : start])
    found = Outside()
    for offer in offers:
        stop = start + len(offer.scan.facts)
        found = _with(found, offer, groups[start:stop], unseen, taken)
        start = stop
    return found


def _with(found: Outside, offer: Offer, groups: Sequence[int], unseen: set[int], taken: set[int]) -> Outside:
    """What may train so far, and what one more source adds; its groups of copies become `taken`."""
    kept: list[Photo] = []
    leaks, copies = 0, 0
    for photo, group in zip(offer.scan.dataset.photos, groups, strict=True):
        if group in unseen:
            leaks += 1
        elif group in taken:
            copies += 1
        else:
            taken.add(group)
            kept.append(photo)
    return Outside(
        (*found.photos, *kept),
        (*found.weights, *[offer.weight] * len(kept)),
        (*found.sentences, _sentence(offer, len(kept), leaks, copies)),
    )


def _sentence(offer: Offer, kept: int, leaks: int, copies: int) -> str:
    """How many photos of a source train, and why others do not."""
    dataset = offer.scan.dataset
    foreign = f", {offer.foreign} of classes that are not learned here" if offer.foreign else ""
    return (
        f"{dataset.origin}: {kept} outside photos train with weight {offer.weight:g}; left out {leaks} near copies of "
        f"held-out or test photos, {copies} of other training photos, {len(dataset.rejected)} that cannot be used"
        f"{foreign}"
    )
