"""Finds the car in a photo by what an ImageNet network sees of vehicles in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from carspotter.data.framing import Box, box_in, decode_size
from carspotter.data.photo import decode, read_bytes
from carspotter.data.views import fit
from carspotter.errors import BundleError, PhotoRefused
from carspotter.inference.bundle import FINDER
from carspotter.inference.runtime import open_runtime
from carspotter.progress import Progress, silent
from carspotter.records import Geometry, Photo, Pixels
from carspotter.workers import in_order, usable_cores

LIKE_A_CAR = 0.2
"""Share of the cells that speak for a vehicle. Assumption: a car fills that much of nearly every ad's photo."""
AHEAD = 2
"""Photos in flight per thread (assumption): the next is there when one ends."""

Seer = Callable[[Photo], float | None]
"""A photo → how strongly it speaks for a vehicle, as `NetFinder.evidence_in`; None where it cannot be read."""


class NetFinder:
    """A small network whose feature map has one channel: how much each cell speaks for a vehicle.

    Made by `training/finder.py`; bundles carry it as `finder.onnx`, to cut photos to the car or to tell that they show
    none.

    Args:
        model: the bytes of the ONNX file, verified by whoever read them; kept, for the next bundle.

    Raises:
        BundleError: no such network.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.name = hashlib.sha256(model).hexdigest()[:16]
        self._runtime = open_runtime(model, threads=1, name=FINDER)
        try:
            self._geometry = Geometry(height=self._runtime.height, width=self._runtime.width)
        except ValidationError:
            size = f"{self._runtime.width}x{self._runtime.height}"
            raise BundleError(f"{FINDER} takes {size} photos, which is no size for a map; train again") from None
        self._cells(np.full((self._geometry.height, self._geometry.width, 3), 128, dtype=np.uint8))

    def find(self, pixels: Pixels) -> Box:
        """Where the car is; all of the photo where no place stands out.

        Raises:
            BundleError: the network itself fails.
        """
        height, width = pixels.shape[:2]
        return box_in(self._cells(fit(pixels, self._geometry)), height, width, self._geometry)

    def evidence(self, pixels: Pixels) -> float:
        """How strongly the fifth of a photo that is most like a vehicle speaks for one; higher is more.

        Of four such measures the one that tells interiors and details from cars best (docs/log.md, 2026-11-26).

        Raises:
            BundleError: the network itself fails.
        """
        return float(np.quantile(self._cells(fit(pixels, self._geometry)), 1 - LIKE_A_CAR))

    def evidence_in(self, photo: Photo) -> float | None:
        """The same of a photo that is read for it; None where it cannot be.

        Raises:
            BundleError: the network itself fails.
        """
        try:
            return self.evidence(decode(read_bytes(photo.where), at_least=decode_size(self._geometry)).pixels)
        except PhotoRefused:
            return None

    def _cells(self, view: Pixels) -> npt.NDArray[np.float32]:
        found = self._runtime.run(view[None], feature_map=True).feature_map
        if found is None or found.ndim != 4 or found.shape[1] != 1 or not found.size:
            raise BundleError(f"{FINDER} gives no map with one channel ({getattr(found, 'shape', None)}); train again")
        if not np.isfinite(found).all():
            raise BundleError(f"{FINDER} answers with not-a-number: its weights are unusable; train again")
        return np.asarray(found[0, 0])


def look_for_vehicles(
    photos: Sequence[Photo], seer: Seer | None, *, threads: int = 0, progress: Progress = silent
) -> npt.NDArray[np.float64]:
    """(N,) the evidence of a vehicle in each photo; NaN where there is none to be had.

    Args:
        photos: N.
        seer: is asked; None: nobody.
        threads: photos looked at at once; 0: as many as there are cores.
        progress: told after every photo.

    Raises:
        BundleError: the network that sees vehicles fails.
    """
    evidence = np.full(len(photos), np.nan)
    if seer is None:
        return evidence
    threads = threads or usable_cores()
    with closing(in_order(seer, photos, threads=threads, ahead=threads * AHEAD)) as answers:
        for at, answer in enumerate(answers):
            evidence[at] = np.nan if answer is None else answer
            progress("vehicles", at + 1, len(photos))
    return evidence
