"""Photos sorted by what a column of their table says of them, such as the side from which a car is seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MOST = 12
"""Values told apart, all the rarer ones being one of them. Assumption: a longer table is not read on a page."""
NO_VALUE = "no value"

Masks = tuple[tuple[str, npt.NDArray[np.bool_]], ...]
"""Value → (N,) whether a photo has it; pairs, for a value may be called as what we call the others."""


def by_value(cells: Sequence[str]) -> Masks:
    """The most frequent values first, then the others together, then the photos without a value.

    Args:
        cells: N of a column; blanks around a value are none of it.
    """
    values = [cell.strip() for cell in cells]
    counts = Counter(value for value in values if value)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = ranked if len(ranked) <= MOST else ranked[: MOST - 1]
    groups = [(value, {value}) for value in kept]
    if rest := set(ranked) - set(kept):
        groups.append((f"{len(rest)} other values", rest))
    if "" in values:
        groups.append((NO_VALUE, {""}))
    return tuple((name, np.array([value in group for value in values], dtype=bool)) for name, group in groups)
