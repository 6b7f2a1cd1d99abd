"""Outside photos: labelled ones of another source that may train, never validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts
from carspotter.errors import SourceError
from carspotter.records import BackboneCard, Dataset, Photo
from carspotter.training.kept import seen_photos


@dataclass(frozen=True, slots=True)
class Outside:
    """Photos from other sources, ready to train.

    Attributes:
        photos: labelled with classes of the dataset they join.
        sentences: one per source: how many came, and why others did not.
    """

    photos: tuple[Photo, ...] = ()
    sentences: tuple[str, ...] = ()


def same_classes(extra: Dataset, dataset: Dataset) -> Dataset:
    """The photos of `extra` whose class `dataset` has too, under the names of `dataset`.

    Classes meet by name, whatever the case, or else by the code in which both tables write them.

    Raises:
        SourceError: not one class is shared, or there are no labels.
    """
    if not extra.classes:
        raise SourceError(f"{extra.origin} has no labels, so it cannot be trained on; give a table or class folders")
    by_name = {name.casefold(): name for name in dataset.classes}
    names = {name: by_name[name.casefold()] for name in extra.classes if name.casefold() in by_name}
    if not names:
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
    extras: Sequence[tuple[Dataset, Sequence[PhotoFacts]]],
    inside: Sequence[PhotoFacts],
    never: Sequence[PhotoFacts],
) -> Outside:
    """The outside photos that may train: none that is a near copy of another one, of a held-out or a test photo.

    Args:
        extras: scanned sources with the dataset's classes, and what the scan found.
        inside: facts of the photos that train anyway.
        never: facts of the photos that must stay unseen: held-out and test photos.
    """
    facts = [*never, *inside, *(fact for _, some in extras for fact in some)]
    groups = near_duplicates(facts)
    unseen, taken = set(groups[: len(never)].tolist()), set(groups[len(never) : len(never) + len(inside)].tolist())
    photos: list[Photo] = []
    sentences: list[str] = []
    at = len(never) + len(inside)
    for extra, some in extras:
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
        sentences.append(
            f"{extra.origin}: {len(kept)} outside photos train; left out {leaks} near copies of held-out or test "
            f"photos, {copies} of other training photos, {len(extra.rejected)} that cannot be used"
        )
    return Outside(tuple(photos), tuple(sentences))


def seen_by(card: BackboneCard, held_out: Sequence[Photo]) -> tuple[str, ...]:
    """What an own backbone learned from, and how many held-out photos are among it; nothing for other backbones."""
    if card.source != "own":
        return ()
    seen = seen_photos(card)
    known = sum(photo.digest in seen for photo in held_out)
    copies = f"{known} of the {len(held_out)} held-out photos are exact copies of what it has seen"
    return (f"backbone {card.known_as}: {card.origin}; {copies}",)
