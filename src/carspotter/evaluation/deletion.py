"""Whether a map tells the truth about its net: hide what it calls decisive, and ask the net again.

Source: V. Petsiuk, A. Das, K. Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018
(the deletion curve), here on the lead of one class over another instead of a probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from carspotter.data.views import BORDER
from carspotter.records import Pixels

SHARES = tuple(at / 10 for at in range(11))
"""Hidden parts of a photo at which a curve is taken. Assumption: tenths; a map of 8 x 10 cells has no finer ones."""

Floats = npt.NDArray[np.float64]
Lead = Callable[[Pixels], float]
"""What the net says of one photo: logit of the answer minus that of the other class."""


def hide(pixels: Pixels, order: npt.NDArray[np.int64], share: float) -> Pixels:
    """The photo with the first cells of an order in grey.

    Args:
        pixels: (H, W, 3) as the net sees it.
        order: (h, w) rank of each cell, 0 goes first.
        share: of the cells that are hidden, 0..1.

    Returns:
        (H, W, 3), a copy. The grey is the one of a photo's padding, which a net has learned to mean nothing.
    """
    gone = order < round(share * order.size)
    rows = np.arange(pixels.shape[0]) * order.shape[0] // pixels.shape[0]
    columns = np.arange(pixels.shape[1]) * order.shape[1] // pixels.shape[1]
    hidden = pixels.copy()
    hidden[gone[rows[:, None], columns]] = BORDER
    return hidden


def hottest_first(cells: Floats) -> npt.NDArray[np.int64]:
    """(h, w) rank of each cell, 0 for the highest; of equals the first in reading order."""
    return np.argsort(np.argsort(-cells, axis=None, kind="stable")).reshape(cells.shape)


def drawn(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(h, w) ranks in an order that chance gives."""
    return rng.permutation(shape[0] * shape[1]).reshape(shape)


def deletion_curve(
    lead: Lead, pixels: Pixels, order: npt.NDArray[np.int64], shares: Sequence[float] = SHARES
) -> Floats:
    """(len(shares),) the lead as ever more cells are hidden."""
    return np.array([lead(hide(pixels, order, share)) for share in shares])


def area(curve: Floats) -> float:
    """Mean height of a curve between its first and its last point (trapezoids); lower: hidden cells mattered more."""
    return float(((curve[1:] + curve[:-1]) / 2).mean())
