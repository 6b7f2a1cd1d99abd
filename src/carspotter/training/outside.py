"""Outside photos: labelled ones of another source that may train, never validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan, scan
from carspotter.errors import SourceError
from carspotter.progress import Progress
from carspotter.recipe import Recipe
from carspotter.records import BackboneCard, Dataset, Photo, Split
from carspotter.training.kept import seen_photos
from carspotter.training.pseudo import pseudo_labels


@dataclass(frozen=True, slots=True)
class Sources:
    """Where photos from outside come from.

    Attributes:
        extra: labelled photos.
        unlabelled: photos that `teacher` labels where it is sure.
        teacher: a model folder.
        unseen: photos of which no near copy may train, such as a contest's test photos.
    """

    extra: tuple[Dataset, ...] = ()
    unlabelled: tuple[Dataset, ...] = ()
    teacher: Path | None = None
    unseen: Dataset | None = None


ALONE = Sources()


@dataclass(frozen=True, slots=True)
class Outside:
    """Photos from other sources, ready to train.

    Attributes:
        photos: labelled with classes of the dataset they join.
        weights: how much each counts in the loss; the source's own count 1.
        sentences: one per source: how many came, and why others did not.
    """

    photos: tuple[Photo, ...] = ()
    weights: tuple[float, ...] = ()
    sentences: tuple[str, ...] = ()


def join(
    sources: Sources, looked: Scan, divided: Split, recipe: Recipe, *, cache: PhotoCache, progress: Progress
) -> Outside:
    """Outside photos that may train; held-out and test photos, and near copies of them, never do.

    Raises:
        SourceError: a source shares no class, or the teacher does not fit.
    """
    labelled = [(same_classes(extra, looked.dataset), recipe.outside_weight) for extra in sources.extra]
    for pool in sources.unlabelled:
        if sources.teacher is None:
            raise SourceError(f"{pool.origin} has no labels that are believed; name a model that labels it (--teacher)")
        sure = pseudo_labels(pool, sources.teacher, looked.dataset, recipe, cache=cache, progress=progress)
        labelled.append((sure, recipe.pseudo_weight))
    if not labelled:
        return Outside()
    held_out = set(divided.validation)
    never = [fact for fact in looked.facts if fact.id in held_out]
    inside = [fact for fact in looked.facts if fact.id not in held_out]
    test = scan(sources.unseen, progress=progress).facts if sources.unseen else ()
    scans = [(scan(extra, progress=progress), weight) for extra, weight in labelled]
    return choose([(s.dataset, s.facts, weight) for s, weight in scans], inside, [*never, *test])


def same_classes(extra: Dataset, dataset: Dataset) -> Dataset:
    """The photos of `extra` whose class `dataset` has too, under the names of `dataset`.

    Classes meet by name, whatever the case; where `extra` has codes alone, by the code in which both are written.

    Raises:
        SourceError: not one class is shared, or there are no labels.
    """
    if not extra.classes:
        raise SourceError(f"{extra.origin} has no labels, so it cannot be trained on; give a table or class folders")
    by_name = {name.casefold(): name for name in dataset.classes}
    names = {name: by_name[name.casefold()] for name in extra.classes if name.casefold() in by_name}
    if not names and extra.classes == extra.codes:  # it has no names, so its codes may be ours
        by_code = dict(zip(dataset.codes, dataset.classes, strict=True))
        names = {n: by_code[code] for n, code in zip(extra.classes, extra.codes, strict=True) if code in by_code}
    if not names:
        raise SourceError(
            f"{extra.origin} shares no class with {dataset.origin}: it has {', '.join(extra.classes[:5])}, …; "
            f"expected some of {', '.join(dataset.classes[:5])}, …"
        )
    photos = tuple(replace(p, label=names[p.label]) for p in extra.photos if p.label in names)
    return replace(extra, photos=photos, classes=dataset.classes, codes=dataset.codes)


def choose(
    extras: Sequence[tuple[Dataset, Sequence[PhotoFacts], float]],
    inside: Sequence[PhotoFacts],
    never: Sequence[PhotoFacts],
) -> Outside:
    """The outside photos that may train: none that is a near copy of another one, of a held-out or a test photo.

    Args:
        extras: scanned sources with the dataset's classes, what the scan found, and how much each photo counts.
        inside: facts of the photos that train anyway.
        never: facts of the photos that must stay unseen: held-out and test photos.
    """
    facts = [*never, *inside, *(fact for _, some, _ in extras for fact in some)]
    groups = near_duplicates(facts)
    unseen, taken = set(groups[: len(never)].tolist()), set(groups[len(never) : len(never) + len(inside)].tolist())
    photos: list[Photo] = []
    weights: list[float] = []
    sentences: list[str] = []
    at = len(never) + len(inside)
    for extra, some, weight in extras:
        mine: npt.NDArray[np.int64] = groups[at : at + len(some)]
        at += len(some)
        kept, leaks, copies = [], 0, 0
        for photo, group in zip(extra.photos, mine.tolist(), strict=True):
            if group in unseen:
                leaks += 1
            elif group in taken:
                copies += 1
            else:
                taken.add(group)
                kept.append(photo)
        photos += kept
        weights += [weight] * len(kept)
        sentences.append(
            f"{extra.origin}: {len(kept)} outside photos train with weight {weight:g}; left out {leaks} near copies "
            f"of held-out or test photos, {copies} of other training photos, {len(extra.rejected)} that cannot be used"
        )
    return Outside(tuple(photos), tuple(weights), tuple(sentences))


def seen_by(card: BackboneCard, held_out: Sequence[Photo]) -> tuple[str, ...]:
    """What an own backbone learned from, and how many held-out photos are among it; nothing for other backbones."""
    if card.source != "own":
        return ()
    seen = seen_photos(card)
    known = sum(photo.digest in seen for photo in held_out)
    copies = f"{known} of the {len(held_out)} held-out photos are exact copies of what it has seen"
    return (f"backbone {card.known_as}: {card.origin}; {copies}",)
