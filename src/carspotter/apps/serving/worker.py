"""What one of the server's processes does: opens models, answers photos one by one, within a bound of memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.data.photo import decode, read_bytes
from carspotter.errors import BundleError, MissingExtra, PhotoRefused, Reason
from carspotter.evaluation.explain import overlay, upsample
from carspotter.evaluation.metrics import best_first
from carspotter.evaluation.page import THUMB, small_jpeg
from carspotter.inference.explanation import explain
from carspotter.inference.neighbours import recall
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.reference import Neighbour, nearest
from carspotter.inference.runtime import RuntimeName
from carspotter.records import Dataset, Photo, Rejected, Scores, Verdict

KEPT = 2
"""Versions of a model that a process holds: the new one, and the old one for requests under way."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the server knows it now.

    Attributes:
        name: in requests.
        folder: of the copy that is served.
        hash: of the bundle.
    """

    name: str
    folder: str
    hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a process says of one photo; a pure function of it becomes the answer.

    Attributes:
        logits: (K,) f32; None where the photo was refused.
        stranger: the verdict where the photo shows no model that was taught.
        rejected: why there is nothing.
        picture: a JPEG, where one was asked for.
        near: the likeliest classes, each with the training photos that are nearest; empty where none are remembered.
        notes: what decoding the photo left out, mended or ignored.
    """

    logits: npt.NDArray[np.float32] | None = None
    stranger: Verdict | None = None
    rejected: Rejected | None = None
    picture: bytes | None = None
    near: tuple[tuple[str, tuple[Neighbour, ...]], ...] = ()
    notes: tuple[str, ...] = ()


Want = Literal["answer", "thumbnail", "why", "near", "training"]
"""`answer`: logits and the rest; `thumbnail`: a small picture drawn anew, without metadata; `why`: where the net saw
its answer rather than the runner-up; `near`: which training photos of both are like it; `training`: a small picture of
one of these, if it is the one that trained."""
NEAREST = 3
"""Training photos of a class that are told: a row of a card on the page."""


@dataclass(frozen=True, slots=True)
class Task:
    """One photo for one model.

    Attributes:
        model: that is asked.
        photo: the bytes of its file.
        want: what for.
        known_as: the id of a training photo.
    """

    model: Model
    photo: bytes
    want: Want = "answer"
    known_as: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a model, so that the first photo need not wait."""

    model: Model


@dataclass(frozen=True, slots=True)
class Gone:
    """The model that was asked for cannot be asked: it does not open, it fails, or its copy is gone."""

    sentence: str


def refused_for(reason: Reason, sentence: str) -> Seen:
    """A photo without an answer, and why."""
    return Seen(rejected=Rejected("", reason, sentence))


def work(pipe: Connection, memory_bytes: int, runtime: RuntimeName) -> None:
    """Open models and answer photos until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the server decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    held: dict[Model, Predictor] = {}
    bounded = False
    while True:
        try:
            asked: Task | Open = pipe.recv()
        except (EOFError, OSError):
            return
        predictor = _opened(asked.model, held, runtime)
        if isinstance(predictor, Gone):
            pipe.send(predictor)
        elif isinstance(asked, Open):
            pipe.send(Seen())
        else:
            if not bounded:  # after the models: what they take is known and wanted
                _bound_memory(memory_bytes)
                bounded = True
            pipe.send(_worked(predictor, asked))


def _worked(predictor: Predictor, task: Task) -> Seen | Gone:
    try:
        return WORK[task.want](predictor, Photo(task.known_as or "photo", task.photo))
    except PhotoRefused as refused:
        return refused_for(refused.reason, refused.sentence)
    except (BundleError, MissingExtra) as fault:
        return Gone(str(fault))
    except MemoryError:
        return refused_for(Reason.TOO_LARGE, "decoding it takes more memory than a photo may; send a smaller copy")


def look(predictor: Predictor, photo: Photo) -> Seen:
    """What a net says of one photo."""
    dataset = Dataset((photo,))
    scores = predictor.scores(dataset)
    if scores.rejected:
        return Seen(rejected=scores.rejected[0])
    stranger = predictor.strangers(dataset, scores).get(photo.id)
    return Seen(scores.logits[0], stranger, notes=scores.notes.get(photo.id, ()))


def draw_small(_: Predictor, photo: Photo) -> Seen:
    """The photo itself, small."""
    return Seen(picture=small_jpeg(decode(read_bytes(photo.where), at_least=THUMB[::-1]).pixels))


def draw_why(predictor: Predictor, photo: Photo) -> Seen:
    """Where the net saw its answer; exact, and without torch, where the head is linear."""
    try:
        found = explain(predictor, photo, reference=predictor.reference)
    except BundleError:
        sentence = "this model's head is not linear: `carspotter explain` draws it, with carspotter[train]"
        return refused_for(Reason.MISSING_EXTRA, sentence)
    shown = overlay(found.view, upsample(found.cells, *found.view.shape[:2]))
    return Seen(picture=small_jpeg(shown, found.view.shape[1::-1]))


def find_near(predictor: Predictor, photo: Photo) -> Seen:
    """The training photos of the named class and of the runner-up that are nearest, which the reference remembers."""
    if (reference := predictor.reference) is None:
        return Seen()
    found = predictor.outputs(predictor.view(predictor.decoded(photo)))
    likeliest = best_first(found.logits, 2)[0].tolist()
    classes = predictor.card.classes
    return Seen(near=tuple((classes[at], nearest(reference, found.embeddings[0], at, NEAREST)) for at in likeliest))


def draw_training(predictor: Predictor, photo: Photo) -> Seen:
    """A training photo, small, unless the file under its name is another one."""
    reference = predictor.reference
    if reference is None or photo.id not in reference.ids:  # the model was replaced meanwhile
        return refused_for(Reason.MISSING, "the model does not remember it")
    pixels = recall(predictor, reference, photo)
    return (
        refused_for(Reason.MISSING, "another photo has its name")
        if pixels is None
        else Seen(picture=small_jpeg(pixels))
    )


WORK: Mapping[Want, Callable[[Predictor, Photo], Seen]] = MappingProxyType(
    {"answer": look, "thumbnail": draw_small, "why": draw_why, "near": find_near, "training": draw_training}
)


def together(seen: Sequence[Seen], ids: Sequence[str], classes: int) -> tuple[Scores, dict[str, Verdict]]:
    """Photos of one request as the arrays that everything else is a function of.

    Args:
        seen: of each photo.
        ids: different from one another.
        classes: K of the model.
    """
    rows = [at for at, one in enumerate(seen) if one.logits is not None]
    logits = [one.logits for one in seen if one.logits is not None]
    refused = tuple(
        Rejected(ids[at], one.rejected.reason, one.rejected.sentence) for at, one in enumerate(seen) if one.rejected
    )
    scores = Scores(
        tuple(ids[at] for at in rows),
        np.stack(logits) if logits else np.zeros((0, classes), np.float32),
        np.zeros((len(rows), 0), np.float32),  # who is a stranger was told where the embeddings were
        refused,
        {ids[at]: one.notes for at, one in enumerate(seen) if one.notes},
    )
    return scores, {ids[at]: one.stranger for at, one in enumerate(seen) if one.stranger is not None}


def _opened(model: Model, held: dict[Model, Predictor], runtime: RuntimeName) -> Predictor | Gone:
    """The version that is asked for; of each model the last few are kept."""
    if model in held:
        return held[model]
    try:
        held[model] = load(model.folder, threads=1, runtime=runtime)
    except (BundleError, MissingExtra) as fault:
        return Gone(str(fault))
    except MemoryError:
        return Gone(f"{model.name} takes more memory than a worker may have")
    for old in [other for other in held if other.name == model.name][:-KEPT]:
        del held[old]
    return held[model]


def _bound_memory(more: int) -> None:
    """A decoder that wants more memory gets an error instead of the machine's last."""
    with suppress(ValueError, OSError):  # no Linux, or a bound that stands already is lower
        data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        bound = data_pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
