"""Photos that show one picture: twice in a set, or in two sets that must stay apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from carspotter.data.duplicates import Copy, find_copies, group_copies
from carspotter.data.scan import PhotoFacts
from carspotter.data.wording import count
from carspotter.evaluation.near import Index, Near, find_near
from carspotter.records import Finding, Kind, Photo
from carspotter.training.embeddings import Embedded

COPY_NEIGHBOURS = 5
"""Nearest photos, and nearest mirror images, that are laid on each photo to find copies."""


def seen_copies(facts: Sequence[PhotoFacts], embedded: Embedded) -> tuple[Copy, ...]:
    """Pairs that show one picture, looked for by hash and among what a net finds alike.

    Args:
        facts: of N photos.
        embedded: of the same.
    """
    nears = [find_near(embedded.views[0], COPY_NEIGHBOURS, queries=view) for view in embedded.views]
    return find_copies(facts, also=np.concatenate([_pairs(near) for near in nears]))


def _pairs(near: Near) -> Index:
    rows = np.repeat(np.arange(len(near.photos)), near.photos.shape[1])
    pairs = np.stack([rows, near.photos.ravel()], axis=1)
    return pairs[pairs[:, 1] >= 0]


def copy_findings(photos: Sequence[Photo], copies: Sequence[Copy], sets: Sequence[str]) -> Iterator[Finding]:
    """Copies within the audited set, one finding a pair; then leaks, one for each own photo and each other set.

    Args:
        photos: N, the audited ones first.
        copies: of these positions.
        sets: (N,) the name of the set of each photo; empty for the audited one.
    """
    for copy in copies:
        if not sets[copy.first] and not sets[copy.second]:
            yield _duplicate(photos[copy.first], photos[copy.second], copy)
    leaks = _Leaks(photos, copies, sets)
    for at, name in enumerate(sets):
        if not name:
            yield from leaks.of(at)


def _duplicate(first: Photo, second: Photo, copy: Copy) -> Finding:
    how = _how(copy)
    if first.label != second.label:
        how += f"; labelled {second.label} here and {first.label} there"
    kind = Kind.EXACT_DUPLICATE if copy.exact else Kind.NEAR_DUPLICATE
    return Finding(second.id, kind, 1 - copy.likeness, True, how, first.id)


def _how(copy: Copy) -> str:
    how = "the same bytes" if copy.exact else f"the same picture, alike {copy.likeness:.2f} in detail"
    return f"{how}, mirrored" if copy.mirrored else how


class _Leaks:
    """Which own photos have copies in other sets.

    A pair joins only the first photos of equal bytes, yet whoever drops one of them leaves the others in: what is said
    of one holds for all of its bytes, and what reaches a set by way of further copies is told too.
    """

    def __init__(self, photos: Sequence[Photo], copies: Sequence[Copy], sets: Sequence[str]) -> None:
        self._photos = photos
        self._bytes = group_copies([copy for copy in copies if copy.exact], len(photos)).tolist()
        self._groups = group_copies(copies, len(photos)).tolist()
        self._near = defaultdict[int, list[tuple[int, Copy]]](list)
        self._weakest = defaultdict[int, float](lambda: 1.0)
        for copy in copies:
            self._take(copy)
        self._holds = defaultdict[tuple[int, str], list[int]](list)
        self._reached = defaultdict[int, dict[str, list[int]]](dict)
        for at, name in enumerate(sets):
            if name:
                self._holds[self._bytes[at], name].append(at)
                self._reached[self._groups[at]].setdefault(name, []).append(at)

    def _take(self, copy: Copy) -> None:
        group = self._groups[copy.first]
        self._weakest[group] = min(self._weakest[group], copy.likeness)
        if not copy.exact:
            first, second = self._bytes[copy.first], self._bytes[copy.second]
            self._near[first].append((second, copy))
            self._near[second].append((first, copy))

    def of(self, at: int) -> Iterator[Finding]:
        """One finding for each set that holds copies of an own photo, with the likest of them."""
        for name, theirs in self._reached.get(self._groups[at], {}).items():
            other, likeness, how = self._likest(at, name, theirs)
            why = f"{how}, is also in {name}"
            why += f", with {count(len(theirs) - 1, 'more copy', 'more copies')}" if len(theirs) > 1 else ""
            yield Finding(self._photos[at].id, Kind.LEAK, 1 - likeness, True, why, self._photos[other].id, name)

    def _likest(self, at: int, name: str, theirs: Sequence[int]) -> tuple[int, float, str]:
        """The position of the likest photo of a set, how alike it is, and in words."""
        mine = self._bytes[at]
        if same := self._holds.get((mine, name)):
            return same[0], 1.0, "the same bytes"
        links = [(copy, self._holds[at, name][0]) for at, copy in self._near[mine] if (at, name) in self._holds]
        if links:
            copy, other = max(links, key=lambda link: link[0].likeness)
            return other, copy.likeness, _how(copy)
        weakest = self._weakest[self._groups[at]]
        return theirs[0], weakest, f"a copy of a copy, alike {weakest:.2f} or more from one to the next"
