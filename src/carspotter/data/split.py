"""Which photos train and which validate: seeded, stratified, and nothing that belongs together on two sides.

Stratified grouping is a bin-packing problem; the greedy rule here (largest blocks first, each to where its classes are
most wanted) is that of scikit-learn's `StratifiedGroupKFold`, with the promise that every class that can be on both
sides is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.data.unions import Unions
from carspotter.data.wording import count, some
from carspotter.errors import SourceError
from carspotter.records import Dataset, Photo, Split

Method = Literal["holdout", "folds", "none"]
TRAINS = -1
"""Fold number of photos that always train: those of a class with only one block. Held out, it could not be learned."""


@dataclass(frozen=True, slots=True)
class Block:
    """Photos that stay together.

    Attributes:
        ids: sorted.
        counts: photos per class.
    """

    ids: tuple[str, ...]
    counts: Counter[str]


def split(
    dataset: Dataset,
    groups: npt.NDArray[np.int64],
    *,
    method: Method = "holdout",
    share: float = 0.15,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
) -> Split:
    """Divide a labelled set; the order of its photos does not matter.

    Args:
        dataset: every photo labelled.
        groups: (N,) near-duplicate group of each photo, in the order of `dataset.photos`. Photos that share one of
            these or `Photo.group` stay on one side.
        method: one hold-out, one of k folds, or none: everything trains.
        share: holdout: part of each class that validates, in (0, 1).
        folds: how many.
        fold: which one validates, from 0.
        seed: of the draw.

    Raises:
        SourceError: unlabelled photos, fewer than two classes, or no class that can be on both sides.
    """
    photos = _labelled(dataset)
    if method == "none":
        return Split(tuple(sorted(photo.id for photo in photos)), (), "every photo trains, nothing validates")
    blocks = _blocks(photos, groups)
    fixed = _fixed(blocks)
    if fixed == set(_totals(blocks)):
        raise SourceError("no class has two photos that are not copies of each other; there is nothing to validate on")
    free = [b for b in _draw(blocks, seed) if not fixed & blocks[b].counts.keys()]
    if method == "holdout":
        place = _hold_out(blocks, free, share)
        sides, chosen, what = [TRAINS, 0], 0, f"one hold-out of {share:.0%}"
    else:
        place = _deal(blocks, free, folds)
        sides, chosen, what = list(range(folds)), fold, f"fold {fold} of {folds}"
    _mend(blocks, place, free, sides)
    numbers = {i: at for block, at in zip(blocks, place, strict=True) for i in block.ids}
    return _split(photos, numbers, chosen, _sentence(what, seed, len(photos), blocks, fixed), method)


def most_folds(dataset: Dataset, groups: npt.NDArray[np.int64]) -> int:
    """Into how many folds `split` can divide a set at most; below 2 it cannot.

    Args:
        dataset: every photo labelled.
        groups: (N,) near-duplicate group of each photo.

    Raises:
        SourceError: unlabelled photos, or fewer than two classes.
    """
    blocks = _blocks(_labelled(dataset), groups)
    fixed = _fixed(blocks)
    return sum(not fixed & block.counts.keys() for block in blocks)


def _fixed(blocks: Sequence[Block]) -> set[str]:
    """Classes that lie in one block and can only train."""
    return {label for label, numbers in _blocks_per_class(blocks).items() if len(numbers) < 2}


def _labelled(dataset: Dataset) -> tuple[Photo, ...]:
    if bare := [photo.id for photo in dataset.photos if photo.label is None]:
        raise SourceError(
            f"{count(len(bare), 'photo')} without a label: {some(bare)}; only labelled photos can be split"
        )
    labels = {photo.label for photo in dataset.photos}
    if len(labels) < 2:
        raise SourceError(
            f"{count(len(dataset.photos), 'photo')} of {count(len(labels), 'class', 'classes')}; needs two"
        )
    return dataset.photos


def together(photos: Sequence[Photo], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) a number for each photo, shared by those that a group of either kind joins, if only by way of others.

    Args:
        photos: N, with `Photo.group` where known.
        groups: (N,) near-duplicate group of each.
    """
    if len(groups) != len(photos):
        raise ValueError(f"{len(groups)} groups for {len(photos)} photos")
    unions = Unions(len(photos))
    first: dict[tuple[str, object], int] = {}
    for i, photo in enumerate(photos):
        unions.join(i, first.setdefault(("near", int(groups[i])), i))
        if photo.group is not None:
            unions.join(i, first.setdefault(("group", photo.group), i))
    return np.array([unions.root(i) for i in range(len(photos))], dtype=np.int64)


def _blocks(photos: Sequence[Photo], groups: npt.NDArray[np.int64]) -> list[Block]:
    """Photos that belong together, in the order of their smallest ids."""
    members: dict[int, list[Photo]] = defaultdict(list)
    for photo, number in zip(photos, together(photos, groups).tolist(), strict=True):
        members[number].append(photo)
    blocks = [Block(tuple(sorted(p.id for p in m)), Counter(str(p.label) for p in m)) for m in members.values()]
    return sorted(blocks, key=lambda block: block.ids)


def _blocks_per_class(blocks: Sequence[Block]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, block in enumerate(blocks):
        for label in block.counts:
            found[label].append(number)
    return found


def _draw(blocks: Sequence[Block], seed: int) -> list[int]:
    """A seeded order, the largest blocks first, because small ones can still even out."""
    drawn = np.random.default_rng(seed).permutation(len(blocks))
    return sorted((int(b) for b in drawn), key=lambda b: -len(blocks[b].ids))


def _hold_out(blocks: Sequence[Block], free: Sequence[int], share: float) -> list[int]:
    """0 for blocks that validate: a block goes there if that brings its classes nearer to their share."""
    want: dict[str, float] = {label: share * n for label, n in _totals(blocks).items()}
    place = [TRAINS] * len(blocks)
    for b in free:
        gain = sum(abs(want[label]) - abs(want[label] - n) for label, n in blocks[b].counts.items())
        if gain > 0:
            place[b] = 0
            for label, n in blocks[b].counts.items():
                want[label] -= n
    return place


def _deal(blocks: Sequence[Block], free: Sequence[int], folds: int) -> list[int]:
    """A fold for each free block: where its classes are most wanted, then where the fewest photos are."""
    if len(free) < folds:
        cure = "use fewer folds" if len(free) > 1 else "more photos are needed, that are no copies and of other ads"
        raise SourceError(f"{count(len(free), 'group')} of photos for {folds} folds; {cure}")
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    totals, place = _totals(blocks), [TRAINS] * len(blocks)
    for b in free:
        loads = [(sum(n * h[label] / totals[label] for label, n in blocks[b].counts.items()), h.total()) for h in held]
        place[b] = min(range(folds), key=loads.__getitem__)
        held[place[b]].update(blocks[b].counts)
    return place


def _mend(blocks: Sequence[Block], place: list[int], free: Sequence[int], sides: Sequence[int]) -> None:
    """Move one block of every class that lies on one side only although it has two blocks, in place.

    The smallest block goes to the emptiest side where that leaves no other class on one side. Where blocks of several
    classes make that impossible, it trains: a class that is never validated is better than one that is never learned.
    """
    per_class, free_blocks = _blocks_per_class(blocks), set(free)
    for label in sorted(per_class, key=lambda name: (len(per_class[name]), name)):
        mine = per_class[label]
        movable = sorted(free_blocks.intersection(mine), key=lambda b: (len(blocks[b].counts), len(blocks[b].ids), b))
        if len(mine) < 2 or not movable or len({place[b] for b in mine}) > 1:
            continue
        held = Counter(place)
        moves = (
            (b, side)
            for b in movable
            for side in sorted(sides, key=lambda side: (held[side], side))
            if all(_both_sides(per_class[other], place, b, side) for other in blocks[b].counts)
        )
        b, side = next(moves, (movable[0], TRAINS))
        place[b] = side


def _both_sides(mine: Sequence[int], place: Sequence[int], moved: int, side: int) -> bool:
    return len(mine) < 2 or len({side if b == moved else place[b] for b in mine}) > 1


def _totals(blocks: Sequence[Block]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for block in blocks:
        totals.update(block.counts)
    return totals


def _sentence(what: str, seed: int, photos: int, blocks: Sequence[Block], fixed: set[str]) -> str:
    together = photos - len(blocks)
    kept = f"groups and near copies kept on one side ({len(blocks):,} blocks of {photos:,} photos)" if together else ""
    never = f"never validated, having one photo or one group: {some(sorted(fixed), 10)}" if fixed else ""
    return "; ".join(part for part in (f"{what}, seed {seed}, stratified by class", kept, never) if part)


def _split(photos: Sequence[Photo], numbers: dict[str, int], chosen: int, sentence: str, method: Method) -> Split:
    ids = sorted(photo.id for photo in photos)
    validation = tuple(i for i in ids if numbers[i] == chosen)
    if not validation:
        raise SourceError("no photo is left to validate on; use fewer folds or a larger share")
    train = tuple(i for i in ids if numbers[i] != chosen)
    return Split(train, validation, sentence, {i: numbers[i] for i in ids} if method == "folds" else {})
