"""Photos in, scores and answers out: the one inference path of command line, server, batch and validation.

One photo is one task: a worker thread reads it, decodes it, draws its views and runs the network on them, alone. There
is no batch across photos, so an answer cannot depend on a photo's neighbours, and while one thread decodes another
computes without any hand-over between them. It is also the fastest way on two cores (`inference/runtime.py` has the
figures, `benchmarks/predict.py` prints them).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache
from carspotter.data.framing import decode_size, framed
from carspotter.data.photo import decode, read_bytes
from carspotter.data.views import View, apply_view, tta_views
from carspotter.data.wording import brief
from carspotter.errors import BundleError, PhotoRefused
from carspotter.evaluation.answer import answer
from carspotter.evaluation.metrics import log_softmax
from carspotter.evaluation.unknown import SHIPPED
from carspotter.inference.bundle import FINDER, MODEL, Bundle, read_bundle
from carspotter.inference.finder import NetFinder, look_for_vehicles
from carspotter.inference.reference import Reference, read_reference
from carspotter.inference.runtime import Outputs, Runtime, RuntimeName, open_runtime
from carspotter.inference.strangers import Strangers
from carspotter.progress import Progress, silent
from carspotter.records import (
    Answer,
    BundleCard,
    Dataset,
    Location,
    Photo,
    Pixels,
    Precision,
    Rejected,
    Scores,
    Verdict,
)
from carspotter.workers import in_order, usable_cores

AHEAD = 2
"""Photos in flight per thread: one at work, one waiting, so that no thread idles while results are collected."""

Askable = str | Path | bytes | Photo
"""One photo: a file, the bytes of one, or a `Photo`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """What the network said about one photo, logits (K,) and embedding (D,), both f32, and what its decoder noted."""

    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    notes: tuple[str, ...] = ()


def load(
    folder: str | Path,
    *,
    threads: int = 0,
    runtime: RuntimeName = "onnxruntime",
    precision: Precision | None = None,
) -> Predictor:
    """Open a model folder.

    Args:
        folder: what `train` wrote.
        threads: photos worked on at once; 0 takes every core this process may use.
        runtime: who computes.
        precision: in what, where the processor can; None: as the model was exported.

    Raises:
        MissingExtra: OpenVINO is asked for and not installed.
        BundleError: the folder is no bundle, damaged, hostile, of a newer format, or its net does not fit its card.
    """
    bundle = read_bundle(folder)
    # The bytes that were hashed are the bytes that run, whatever happens to the file meanwhile.
    finder = NetFinder(bundle.read(FINDER)) if FINDER in bundle.card.files else None
    judged = bundle.card.export.precision if bundle.card.export else "f32"
    bf16 = (precision or judged) == "bf16"
    opened = open_runtime(bundle.read(MODEL), threads=1, kind=runtime, bf16=bf16)
    return Predictor(bundle, opened, finder, threads=threads)


class Predictor:
    """A model that is ready to answer; safe to use from several threads.

    Attributes:
        bundle: what it was loaded from.
        finder: of the car in a photo; None where all of the photo is shown.
        vehicles: the net that sees whether there is a vehicle at all; None where the model has none.
        reference: what the model remembers of the photos that trained it; None where it remembers nothing.
        threads: photos worked on at once.
        bf16: whether the network computes in half precision.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, finder: NetFinder | None = None, *, threads: int = 0) -> None:
        _refuse_misfit(bundle, runtime)
        self.bundle = bundle
        self.finder = finder if bundle.card.geometry.frame == "car" else None
        self.reference = read_reference(bundle, runtime.dimensions)
        self.vehicles = finder
        self._strangers = _strangers(bundle.card, self.reference)
        self.threads = threads or usable_cores()
        self.bf16 = runtime.bf16
        self._runtime = runtime

    @property
    def card(self) -> BundleCard:
        """Everything the model says about itself."""
        return self.bundle.card

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        return self._runtime.dimensions

    def scores(
        self, dataset: Dataset, *, tta: int = 1, cache: PhotoCache | None = None, progress: Progress = silent
    ) -> Scores:
        """What the network says about every photo of a set.

        Args:
            dataset: photos; labels are not looked at.
            tta: views per photo (`data/views.py`); the probabilities over the views are averaged, and the logits given
                are the logarithm of that mean; embeddings are averaged as they are.
            cache: decoded photos on disk; None decodes each time.
            progress: told after every photo.

        Returns:
            Scores in the order of the set; a photo that cannot be used is in `rejected`, after the set's own.

        Raises:
            BundleError: the network itself fails.
        """
        photos = (cache or PhotoCache(None)).with_finder(self.finder)
        views = tta_views(tta)
        found: list[tuple[str, _Row | Rejected]] = []
        look = partial(self._look, views=views, cache=photos)
        with closing(in_order(look, dataset.photos, threads=self.threads, ahead=self.threads * AHEAD)) as rows:
            for photo, row in zip(dataset.photos, rows, strict=True):
                found.append((photo.id, row))
                progress("photos", len(found), len(dataset.photos))
        return self._collect(found, dataset.rejected)

    def strangers(self, dataset: Dataset, scores: Scores, *, progress: Progress = silent) -> dict[str, Verdict]:
        """The photos that show no model that was taught.

        Args:
            dataset: holds the photos of `scores`.
            scores: as `scores` gave them; the bound was found on plain photos, so it fits several views only roughly.
            progress: told about the strangers that are looked at again.

        Returns:
            Photo id → `unknown`, or `not_a_car` where no vehicle is seen either; empty for a model that cannot tell.

        Raises:
            BundleError: the network that sees vehicles fails.
        """
        calibration = self.card.calibration
        if self._strangers is None or calibration is None or calibration.strange_at is None or not scores.ids:
            return {}
        strange = self._strangers.strangeness(scores) > calibration.strange_at
        ids = {scores.ids[at] for at in np.flatnonzero(strange)}
        photos = [photo for photo in dataset.photos if photo.id in ids]
        if self.vehicles is None or calibration.no_car_at is None:
            return dict.fromkeys((photo.id for photo in photos), Verdict.UNKNOWN)
        evidence = look_for_vehicles(photos, self.vehicles.evidence_in, threads=self.threads, progress=progress)
        no_car = evidence < calibration.no_car_at  # which what could not be read is not
        return {
            photo.id: Verdict.NOT_A_CAR if none else Verdict.UNKNOWN for photo, none in zip(photos, no_car, strict=True)
        }

    def decoded(self, photo: Photo) -> Pixels:
        """A photo's pixels, to make views of: (H, W, 3), decoded as for `scores`, so that its `view` is what that saw.

        Raises:
            PhotoRefused: it cannot be read or decoded.
        """
        return decode(read_bytes(photo.where), at_least=decode_size(self.card.geometry)).pixels

    def view(self, pixels: Pixels) -> Pixels:
        """What the network sees of a decoded photo: (H, W, 3) of any size → the card's geometry."""
        return framed(pixels, self.card.geometry, self.finder)

    def outputs(self, view: Pixels) -> Outputs:
        """What the network gives for one photo that has the card's geometry, its feature map included.

        Args:
            view: (height, width, 3).

        Raises:
            BundleError: the network itself fails.
        """
        return self._runtime.run(view[None], feature_map=True)

    # A text is a sequence of texts too; the first overload takes it.
    @overload
    def identify(self, photos: Askable, *, tta: int = 1, progress: Progress = silent) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def identify(
        self, photos: Dataset | Sequence[Askable], *, tta: int = 1, progress: Progress = silent
    ) -> tuple[Answer, ...]: ...
    def identify(
        self, photos: Askable | Dataset | Sequence[Askable], *, tta: int = 1, progress: Progress = silent
    ) -> Answer | tuple[Answer, ...]:
        """Name the car in a photo, or in each of many.

        Args:
            photos: a path, the bytes of a file, a `Photo`, a sequence of these, or a `Dataset` (its refused photos are
                answered after the others).
            tta: views per photo.
            progress: told after every photo.

        Returns:
            One answer for one photo; for many, one for each in the order given, named twice or not.
        """
        if isinstance(photos, Dataset):
            return self._answers(photos, tta, progress)
        if isinstance(photos, str | Path | bytes | Photo):
            return self._answers(Dataset((_photo(photos, 0),)), tta, progress)[0]
        return self._answers(Dataset(tuple(_photo(one, at) for at, one in enumerate(photos))), tta, progress)

    def _answers(self, dataset: Dataset, tta: int, progress: Progress) -> tuple[Answer, ...]:
        """Answers by position, so that two photos of one name stay two photos."""
        ids = [*(p.id for p in dataset.photos), *(r.id for r in dataset.rejected)]
        numbered = replace(
            dataset,
            photos=tuple(replace(p, id=str(at)) for at, p in enumerate(dataset.photos)),
            rejected=tuple(replace(r, id=str(len(dataset.photos) + at)) for at, r in enumerate(dataset.rejected)),
        )
        scores = self.scores(numbered, tta=tta, progress=progress)
        order = [str(at) for at in range(len(ids))]
        strangers = self.strangers(numbered, scores, progress=progress)
        answers = answer(scores, self.card.classes, self.card.calibration, order, strangers, self.card.parents)
        return tuple(replace(a, id=name) for a, name in zip(answers, ids, strict=True))

    def _look(self, photo: Photo, views: Sequence[View], cache: PhotoCache) -> _Row | Rejected:
        try:
            fitted = cache.look(photo, self.card.geometry)
        except PhotoRefused as refused:
            return Rejected(photo.id, refused.reason, refused.sentence)
        pixels = fitted.pixels
        row = self._run([pixels] if len(views) == 1 else [apply_view(pixels, view) for view in views])
        return replace(row, notes=fitted.notes)

    def _run(self, views: list[Pixels]) -> _Row:
        """The mean over the views of one photo; each runs alone, for the same bits whatever their number."""
        outputs = [self._runtime.run(view[None]) for view in views]
        if len(outputs) == 1:
            return _Row(outputs[0].logits[0], outputs[0].embeddings[0])
        logits = np.concatenate([o.logits for o in outputs])
        embedding = np.mean([o.embeddings[0] for o in outputs], axis=0)
        return _Row(_mean_logits(logits), embedding.astype(np.float32))

    def _collect(self, found: Sequence[tuple[str, _Row | Rejected]], rejected: tuple[Rejected, ...]) -> Scores:
        rows = [(name, row) for name, row in found if isinstance(row, _Row)]
        logits = np.zeros((len(rows), self._runtime.classes), dtype=np.float32)
        embeddings = np.zeros((len(rows), self._runtime.dimensions), dtype=np.float32)
        for at, (_, row) in enumerate(rows):
            logits[at], embeddings[at] = row.logits, row.embedding
        refused = tuple(row for _, row in found if isinstance(row, Rejected))
        notes = {name: row.notes for name, row in rows if row.notes}
        return Scores(tuple(name for name, _ in rows), logits, embeddings, (*rejected, *refused), notes)


def _mean_logits(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(K,) logarithm of the mean softmax over V views of (V, K) logits; finite where every probability rounds to 0."""
    total = np.logaddexp.reduce(log_softmax(logits), axis=0)
    return np.asarray(total - np.log(len(logits)), dtype=np.float32)


def _photo(given: Askable, at: int) -> Photo:
    if isinstance(given, Photo):
        return given
    if isinstance(given, bytes):
        return Photo(f"photo {at + 1}", given)
    return Photo(str(given), Location(str(given)))


def _strangers(card: BundleCard, reference: Reference | None) -> Strangers | None:
    if reference is None or card.calibration is None or not (detector := card.calibration.detector):
        return None
    if detector != SHIPPED:
        raise BundleError(f"the card names the detector {brief(detector)}, this version has {SHIPPED}; train again")
    return Strangers(reference, card.members if card.join == "mean" else 1)


def _refuse_misfit(bundle: Bundle, runtime: Runtime) -> None:
    """Refuse a net that does not fit its card."""
    card, geometry = bundle.card, bundle.card.geometry
    if (runtime.width, runtime.height) != (geometry.width, geometry.height):
        raise BundleError(
            f"{bundle.folder}: {MODEL} takes {runtime.width}x{runtime.height} photos, the card says "
            f"{geometry.width}x{geometry.height}; train again"
        )
    if runtime.classes != len(card.classes):
        raise BundleError(
            f"{bundle.folder}: {MODEL} tells {runtime.classes} classes apart, the card names {len(card.classes)}; "
            "train again"
        )
