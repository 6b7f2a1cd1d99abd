"""Near copies: the same picture resized, re-encoded, brightened, marked, mirrored or cut a little smaller.

Two steps. Hashes that differ in few bits are candidates, found in buckets, never by comparing all with all; then the
small pictures themselves must agree (`alike.py`), because different cars in one dealer's booth have almost equal
hashes. Precision comes first: a wrong join moves two ads to one side of a split for nothing and hides one in a report.

Measured on the 616 photos of the contest's twin (dealers' booths among them) with a planted copy of every fourth:
recall 1.00 for half and double size, quality 40, 30 % darker, 40 % brighter, a caption, a mirror image and grey;
0.93 for 2 % cut off each edge, 0.86 for 4 %, 0.05 for 7 %. With 1,000 more ads, of 826 pairs of different photos whose
hashes agree, none was joined; the nearest, one model twice in one booth, reached 0.871.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from carspotter.data.alike import THUMB, aligned_likeness, likeness
from carspotter.data.scan import PhotoFacts
from carspotter.data.unions import Unions

MAX_BITS = 10
"""Hashes that differ in more bits are no candidates. pHash sets half of its bits, so distances are even; 10 keeps all
planted copies but some of those cut by 4 % and more (see above), 12 adds twice as many pairs to look at."""
MIN_LIKENESS = 0.88
"""Candidates less alike are different photos (measured: see above; different photos up to 0.871)."""
MAYBE_LIKENESS = 0.6
"""Candidates at least so alike are laid on each other more carefully. Measured: the planted cuts of 7 % that a coarse
search misses reach 0.84 to 0.88 in it."""
BANDS = 4
"""Pieces of 16 bits. If two hashes differ in at most 11 bits, one piece differs in at most two: by the pigeonhole."""
BAND_BITS = 16
BAND_ERRORS = MAX_BITS // BANDS
MAX_BUCKET = 256
"""Photos looked at in one bucket, so that thousands of almost equal hashes do not cost their square (assumption)."""
CHUNK = 1_000_000
"""Pairs of hashes compared at once: 30 MB."""
PAIR_CHUNK = 2_048
"""Pairs of pictures compared at once: about 150 MB."""

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Copy:
    """Two photos that show one picture.

    Attributes:
        first: position of the one.
        second: position of the other, larger.
        likeness: how far they agree in detail, up to 1.
        exact: the same bytes.
        mirrored: one is the other's mirror image.
    """

    first: int
    second: int
    likeness: float
    exact: bool = False
    mirrored: bool = False


def near_duplicates(facts: Sequence[PhotoFacts]) -> Ints:
    """Group photos that show the same picture.

    Returns:
        (N,) group number of each photo, numbered from 0 in the order of appearance; a photo on its own has its own.
    """
    return group_copies(find_copies(facts), len(facts))


def group_copies(copies: Sequence[Copy], photos: int) -> Ints:
    """(N,) group number of each photo, numbered from 0 in the order of appearance; copies of copies are one group."""
    unions = Unions(photos)
    for copy in copies:
        unions.join(copy.first, copy.second)
    roots = [unions.root(i) for i in range(photos)]
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[root] for root in roots], dtype=np.int64)


def find_copies(facts: Sequence[PhotoFacts], also: Ints | None = None) -> tuple[Copy, ...]:
    """Pairs of photos that show the same picture; every group of copies is connected by them.

    Args:
        facts: of N photos.
        also: (M, 2) positions of further candidates, from embeddings: a hash does not see through a larger cut. Where
            they are given, unclear pairs are also looked at more carefully, some 15 ms each: for an audit, not for
            every split.

    Returns:
        Exact copies first, each paired with the first photo of these bytes, which alone is compared with others.
    """
    found, distinct = list[Copy](), dict[str, int]()
    for i, fact in enumerate(facts):
        if (first := distinct.setdefault(fact.digest, i)) != i:
            found.append(Copy(first, i, 1.0, exact=True))
    kept = np.array(sorted(distinct.values()), dtype=np.int64)
    stands_for = np.array([distinct[fact.digest] for fact in facts], dtype=np.int64)
    more = None if also is None else np.sort(stands_for[also], axis=1)
    seen = {(i, j): (score, mirrored) for i, j, score, mirrored in _joined_pairs(facts, kept, more)}
    return (*found, *(Copy(i, j, score, mirrored=mirrored) for (i, j), (score, mirrored) in sorted(seen.items())))


def _joined_pairs(facts: Sequence[PhotoFacts], kept: Ints, more: Ints | None) -> Iterator[tuple[int, int, float, bool]]:
    hashes = np.array([facts[i].hash for i in kept], dtype=np.uint64)
    mirrors = np.array([facts[i].mirror_hash for i in kept], dtype=np.uint64)
    for queries, mirrored in ((mirrors, True), (hashes, False)):
        near = kept[candidates(queries, hashes)]
        pairs = near if more is None else np.unique(np.concatenate([near, more[more[:, 0] < more[:, 1]]]), axis=0)
        for part in np.array_split(pairs, max(1, -(-len(pairs) // PAIR_CHUNK))):
            a, b = _thumbs(facts, part[:, 0])[:, :, :: -1 if mirrored else 1], _thumbs(facts, part[:, 1])
            scores = likeness(a, b) if more is None else _alike(a, b)
            for (i, j), score in zip(part.tolist(), scores.tolist(), strict=True):
                if score >= MIN_LIKENESS:
                    yield i, j, min(1.0, score), mirrored


def _alike(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(M,) coarse likeness, and where it is neither clear nor hopeless, the careful one."""
    scores = likeness(a, b)
    unclear = (scores >= MAYBE_LIKENESS) & (scores < MIN_LIKENESS)
    scores[unclear] = np.maximum(scores[unclear], aligned_likeness(a[unclear], b[unclear]))
    return scores


def _thumbs(facts: Sequence[PhotoFacts], which: Ints) -> npt.NDArray[np.uint8]:
    joined = b"".join(facts[i].thumb for i in which)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(which), THUMB, THUMB)


# ---- candidates -----------------------------------------------------------------------------------------------------


def candidates(queries: Hashes, hashes: Hashes) -> Ints:
    """Pairs i < j where `queries[i]` and `hashes[j]`, or the other way round, differ in at most MAX_BITS bits.

    Args:
        queries: (N,) the hashes themselves, or those of the mirror images.
        hashes: (N,).

    Returns:
        (M, 2) positions, sorted, each pair once.
    """
    found = [np.empty(0, dtype=np.int64)]
    for band in range(BANDS):
        buckets = _Buckets(hashes, band)
        keys = _band(queries, band)
        for mask in _masks():
            found += [_near(queries, hashes, i, j) for i, j in buckets.members(keys ^ mask)]
    codes = np.unique(np.concatenate(found))
    return np.stack(np.divmod(codes, max(1, len(hashes))), axis=1)


def _near(queries: Hashes, hashes: Hashes, i: Ints, j: Ints) -> Ints:
    """The pairs that are near, each as one number with the smaller position first."""
    near = (np.bitwise_count(queries[i] ^ hashes[j]) <= MAX_BITS) & (i != j)
    low, high = np.minimum(i[near], j[near]), np.maximum(i[near], j[near])
    return np.unique(low * len(hashes) + high)


def _band(hashes: Hashes, band: int) -> Ints:
    return ((hashes >> np.uint64(BAND_BITS * band)) & np.uint64(2**BAND_BITS - 1)).astype(np.int64)


def _masks() -> Iterator[int]:
    """Every way to change at most BAND_ERRORS bits of a band."""
    for errors in range(BAND_ERRORS + 1):
        for places in combinations(range(BAND_BITS), errors):
            yield sum(1 << place for place in places)


class _Buckets:
    """Positions of hashes by one band of their bits."""

    def __init__(self, hashes: Hashes, band: int) -> None:
        keys = _band(hashes, band)
        self._order = np.lexsort((hashes, keys))
        self._rank = np.empty(len(hashes), dtype=np.int64)
        self._rank[self._order] = np.arange(len(hashes))
        self._bounds = np.searchsorted(keys[self._order], np.arange(2**BAND_BITS + 1))

    def members(self, keys: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Query positions and the members of their buckets, as pairs, in chunks.

        Of an overfull bucket only MAX_BUCKET members are given: those from the query's own place on, or else the last.
        """
        start, stop = self._bounds[keys], self._bounds[keys + 1]
        start = np.where(stop - start > MAX_BUCKET, np.clip(self._rank, start, stop - MAX_BUCKET), start)
        sizes = np.minimum(stop - start, MAX_BUCKET)
        cuts = np.searchsorted(np.cumsum(sizes), np.arange(CHUNK, sizes.sum(), CHUNK), side="right")
        for low, high in pairwise([0, *cuts, len(keys)]):
            size = sizes[low:high]
            within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            yield np.repeat(np.arange(low, high), size), self._order[np.repeat(start[low:high], size) + within]
