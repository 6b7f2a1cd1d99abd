"""Classes that two sets share, whatever each calls them."""

from __future__ import annotations

from dataclasses import replace

from carspotter.errors import SourceError
from carspotter.records import Dataset


def same_classes(other: Dataset, known: Dataset) -> Dataset:
    """The photos of `other` whose class `known` has too, under the names of `known`.

    Classes meet by name, whatever the case where `known` has but one of that name; where `other` has codes alone, by
    the code in which both are written.

    Raises:
        SourceError: not one class is shared, there are no labels, or a name is that of two classes but for the case.
    """
    if not other.classes:
        raise SourceError(
            f"{other.origin} has no labels, so it neither teaches nor judges; give a table or class folders"
        )
    called: dict[str, list[str]] = {}
    for name in known.classes:
        called.setdefault(name.casefold(), []).append(name)
    names = {}
    for name in other.classes:
        alike = [name] if name in known.classes else called.get(name.casefold(), [])
        if len(alike) > 1:
            both = " or ".join(alike)
            raise SourceError(f"class {name} of {other.origin} may be {both} of {known.origin}; rename it")
        if alike:
            names[name] = alike[0]
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
