"""What `carspotter check` shows: everything worth knowing about a set before anything is trained."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts, Scan
from carspotter.data.wording import brief, count, some
from carspotter.records import Rejected

COMMON_SIZES = 5
"""Photo sizes that are listed (assumption)."""
_DIGITS = re.compile("[0-9][0-9,]*")


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class and how many photos it has.

    Attributes:
        label: class name.
        code: as the source writes it.
        photos: usable ones.
        deviation: from the mean over the classes, per cent; negative: fewer.
    """

    label: str
    code: str
    photos: int
    deviation: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Photo sizes, (width, height) in pixels, upright.

    Attributes:
        common: the most frequent sizes with their number of photos.
        different: how many sizes there are.
        portrait: share of photos higher than wide, 0..1.
        smallest: the photo with the fewest pixels.
        largest: the photo with the most pixels.
    """

    common: tuple[tuple[tuple[int, int], int], ...]
    different: int
    portrait: float
    smallest: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CopyGroups:
    """Near copies.

    Attributes:
        groups: how many pictures are there more than once.
        photos: how many photos those are.
        across: groups whose photos have different labels; at least one label is wrong.
        examples: ids of the first groups.
    """

    groups: int
    photos: int
    across: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """The state of a set.

    Attributes:
        origin: the source as given.
        photos: usable ones.
        unlabelled: usable ones without a label.
        rejected: those that cannot be used.
        classes: in class order; empty when unlabelled.
        sizes: None when no photo is usable.
        copies: near copies and exact ones.
        problems: one line per kind, with a number and examples.
        notes: what the reader and the decoder decided.
    """

    origin: str
    photos: int
    unlabelled: int
    rejected: int
    classes: tuple[ClassCount, ...]
    sizes: Sizes | None
    copies: CopyGroups
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check(scan: Scan) -> Check:
    """Judge a set that was scanned."""
    dataset = scan.dataset
    copies = _copies(scan)
    classes = _classes(dataset.counts, dataset.codes)
    return Check(
        origin=dataset.origin,
        photos=len(dataset.photos),
        unlabelled=sum(photo.label is None for photo in dataset.photos),
        rejected=len(dataset.rejected),
        classes=classes,
        sizes=_sizes(scan.facts),
        copies=copies,
        problems=(*group_rejected(dataset.rejected), *_class_problems(classes), *_copy_problems(copies)),
        notes=(*dataset.notes, *_photo_notes(scan.facts)),
    )


def group_rejected(rejected: Sequence[Rejected]) -> tuple[str, ...]:
    """One line per reason and kind of sentence (sizes in it may differ): how many, and which for example."""
    kinds: dict[tuple[str, str], list[Rejected]] = defaultdict(list)
    for refused in rejected:
        kinds[refused.reason, _DIGITS.sub("0", refused.sentence)].append(refused)
    order = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    return tuple(
        f"{count(len(group), 'photo')} {why}: {group[0].sentence}: {some([refused.id for refused in group])}"
        for (why, _), group in order
    )


def _classes(counts: dict[str, int], codes: Sequence[str]) -> tuple[ClassCount, ...]:
    mean = sum(counts.values()) / len(counts) if counts else 0.0
    return tuple(
        ClassCount(label, code, photos, 100 * (photos - mean) / mean if mean else 0.0)
        for (label, photos), code in zip(counts.items(), codes, strict=True)
    )


def _class_problems(classes: Sequence[ClassCount]) -> tuple[str, ...]:
    lone = [c.label for c in classes if c.photos == 1]
    empty = [c.label for c in classes if c.photos == 0]
    problems = []
    if lone:
        problems.append(
            f"{count(len(lone), 'class', 'classes')} with one photo, never validated: {some(lone)}; add more"
        )
    if empty:
        problems.append(f"{count(len(empty), 'class', 'classes')} without a usable photo: {some(empty)}; add some")
    return tuple(problems)


def _sizes(facts: Sequence[PhotoFacts]) -> Sizes | None:
    if not facts:
        return None
    sizes = Counter((fact.width, fact.height) for fact in facts)
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    common = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:COMMON_SIZES]
    portrait = sum(fact.height > fact.width for fact in facts) / len(facts)
    return Sizes(tuple(common), len(sizes), portrait, ordered[0], ordered[-1])


def _copies(scan: Scan) -> CopyGroups:
    members: dict[int, list[int]] = defaultdict(list)
    for position, number in enumerate(near_duplicates(scan.facts).tolist()):
        members[number].append(position)
    photos = scan.dataset.photos
    groups = [group for group in members.values() if len(group) > 1]
    across = [group for group in groups if len({photos[i].label for i in group}) > 1]
    examples = tuple(tuple(photos[i].id for i in group) for group in (across or groups)[:3])
    return CopyGroups(len(groups), sum(map(len, groups)), len(across), examples)


def _copy_problems(copies: CopyGroups) -> tuple[str, ...]:
    if not copies.across:
        return ()
    pairs = some([" = ".join(ids) for ids in copies.examples])
    return (f"{count(copies.across, 'picture')} under different labels: {pairs}; correct or remove one",)


def _photo_notes(facts: Sequence[PhotoFacts]) -> tuple[str, ...]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        for note in fact.notes:
            kinds[note].append(fact.id)
    return tuple(f"{count(len(ids), 'photo')}: {note}: {some(ids)}" for note, ids in sorted(kinds.items()))


# ---- as text --------------------------------------------------------------------------------------------------------


def render(found: Check) -> str:
    """The whole check as plain text, problems last, where a reader's eye ends."""
    head = f"{found.origin}: {count(found.photos, 'photo')}, {count(len(found.classes), 'class', 'classes')}"
    parts = [head + (f", {found.rejected:,} refused" if found.rejected else "")]
    width = max((len(brief(c.label)) for c in found.classes), default=0)
    parts += [_class_line(c, width) for c in found.classes]
    parts += [_size_line(found.sizes)] if found.sizes else []
    if found.copies.groups:
        parts.append(f"near copies: {count(found.copies.photos, 'photo')} show {count(found.copies.groups, 'picture')}")
    parts += [f"note: {note}" for note in found.notes]
    parts += [f"problem: {problem}" for problem in found.problems] or ["no problems"]
    return "\n".join(parts)


def _class_line(c: ClassCount, width: int) -> str:
    code = f" ({brief(c.code)})" if c.code != c.label else ""
    return f"  {brief(c.label):<{width}} {c.photos:>7,} {c.deviation:>+5.0f} %{code}"


def _size_line(sizes: Sizes) -> str:
    common = ", ".join(f"{width}×{height} ({photos:,})" for (width, height), photos in sizes.common)
    small, large = ("×".join(map(str, size)) for size in (sizes.smallest, sizes.largest))
    return f"sizes: {common}; {sizes.different:,} in all, {small} to {large}, {sizes.portrait:.0%} portrait"
