"""Families of classes, read from their names: what can still be said when the model itself cannot.

`BMW_X3`, `BMW_X5` and `BMW_X6` are a `BMW X`; with `BMW_3ER` they are a `BMW`. A table of parents may say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BETWEEN = re.compile(r"[\s_\-/]+")
_SERIES = re.compile(r"(\D+)\d.*")
"""Letters and then a number, as in X5 or A4: models of one series."""
TWO_NAMES = " / "


@dataclass(frozen=True, slots=True)
class Family:
    """Classes that share a name.

    Attributes:
        name: to be shown.
        members: class indices, at least two, rising.
    """

    name: str
    members: tuple[int, ...]


def find_families(classes: Sequence[str], parents: Mapping[str, str] | None = None) -> tuple[Family, ...]:
    """Every family of at least two classes, the smallest first.

    From names alone: classes share their first words; among those, words that are letters and a number share the
    letters; and a name that another one continues (2109, 21099) makes a pair with it.

    Args:
        classes: names in index order.
        parents: class name or family → the family above it; where given, names are not looked at.

    Returns:
        Families by their number of members, then by name; none twice.
    """
    found: dict[tuple[int, ...], str] = {}
    for name, members in _told(classes, parents) if parents is not None else _read(classes):
        if len(members) > 1:
            found.setdefault(members, name)
    return tuple(
        sorted((Family(name, members) for members, name in found.items()), key=lambda f: (len(f.members), f.name))
    )


def smallest_family(probabilities: npt.NDArray[np.float64], families: Sequence[Family], least: float) -> Family | None:
    """The smallest family that the photo belongs to with at least that probability.

    Args:
        probabilities: (K,) calibrated.
        families: from `find_families`.
        least: probability at which a claim is made.
    """
    return next((f for f in families if float(probabilities[list(f.members)].sum()) >= least), None)


def common_family(members: Sequence[int], families: Sequence[Family]) -> Family | None:
    """The smallest family that all these classes belong to."""
    return next((f for f in families if set(members) <= set(f.members)), None)


def _told(classes: Sequence[str], parents: Mapping[str, str]) -> list[tuple[str, tuple[int, ...]]]:
    above: dict[str, list[int]] = {}
    for index, name in enumerate(classes):
        seen, here = {name}, name
        while (here := parents.get(here, "")) and here not in seen:
            seen.add(here)
            above.setdefault(here, []).append(index)
    return [(name, tuple(members)) for name, members in above.items()]


def _read(classes: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    words = [tuple(word for word in _BETWEEN.split(name) if word) for name in classes]
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, mine in enumerate(words):
        for length in range(1, len(mine)):
            groups.setdefault(mine[:length], []).append(index)
        for length, word in enumerate(mine):
            if series := _SERIES.fullmatch(word):
                groups.setdefault((*mine[:length], series[1]), []).append(index)
    return [*_continued(words), *((" ".join(key), tuple(members)) for key, members in groups.items())]


def _continued(words: Sequence[tuple[str, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    """Pairs of names of which one goes on where the other ends, within the last word."""
    pairs: list[tuple[str, tuple[int, ...]]] = []
    for i, short in enumerate(words):
        for j, long in enumerate(words):
            if i != j and short and long[: len(short) - 1] == short[:-1] and len(long) == len(short):
                tail = long[-1].removeprefix(short[-1])
                if tail and tail != long[-1]:
                    pairs.append((" ".join(short) + TWO_NAMES + long[-1], (min(i, j), max(i, j))))
    return pairs
