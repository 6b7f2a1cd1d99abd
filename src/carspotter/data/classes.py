"""Classes that two sets share, whatever each calls them."""

from __future__ import annotations

from dataclasses import replace

from carspotter.errors import SourceError
from carspotter.records import Dataset


def same_classes(other: Dataset, known: Dataset) -> Dataset:
    """The photos of `other` whose class `known` has too, under the names of `known`.

    Classes meet by name, whatever the case; where `other` has codes alone, by the code in which both are written.

    Raises:
        SourceError: not one class is shared, or there are no labels.
    """
    if not other.classes:
        raise SourceError(
            f"{other.origin} has no labels, so it neither teaches nor judges; give a table or class folders"
        )
    by_name = {name.casefold(): name for name in known.classes}
    names = {name: by_name[name.casefold()] for name in other.classes if name.casefold() in by_name}
    if not names and other.classes == other.codes:  # it has no names, so its codes may be ours
        by_code = dict(zip(known.codes, known.classes, strict=True))
        names = {n: by_code[code] for n, code in zip(other.classes, other.codes, strict=True) if code in by_code}
    if not names:
        raise SourceError(
            f"{other.origin} shares no class with {known.origin}: it has {', '.join(other.classes[:5])}, …; "
            f"expected some of {', '.join(known.classes[:5])}, …"
        )
    photos = tuple(replace(p, label=names[p.label]) for p in other.photos if p.label in names)
    return replace(other, photos=photos, classes=known.classes, codes=known.codes)
