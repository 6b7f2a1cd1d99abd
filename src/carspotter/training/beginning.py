"""What a training begins with, and whether an interrupted one still has the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import carspotter
from carspotter.data.wording import count, visible
from carspotter.errors import TrackingError
from carspotter.recipe import Recipe, recipe_differences
from carspotter.records import BackboneCard, Birth, Dataset, Machine, Run, Split, hash_json
from carspotter.tracking.machine import code_version
from carspotter.tracking.runs import RunStore, RunWriter
from carspotter.training.backbones import weights_hash
from carspotter.training.devices import ALONE, Peers
from carspotter.training.gather import Gathered
from carspotter.training.job import command_for
from carspotter.training.null_writer import NullWriter, Writer
from carspotter.training.outside import Sources
from carspotter.workers import processes

UNTOUCHED = ("apps", "tracking")
"""Folders of the package that decide no weight."""
NAMES = ("name", "about")
"""Of a recipe; they decide nothing."""
DECIDES = ("processor", "threads", "device", "python", "packages")
"""What of a machine decides the last bits; another kernel or more cores do not."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Everything that decides a training.

    Attributes:
        recipe: fully resolved.
        dataset: scanned.
        split: which photos train.
        machine: where.
        birth: how the sources were read, which outside photos train, which weights it begins with, which code.
        told: sentences on outside photos, and on what the weights have seen.
    """

    recipe: Recipe
    dataset: Dataset
    split: Split
    machine: Machine
    birth: Birth
    told: tuple[str, ...] = ()


def born_from(dataset: Dataset, sources: Sources, photos: Gathered, card: BackboneCard) -> Birth:
    """How to read the same again, and hashes of what then must be equal.

    Raises:
        BackboneError: the weights of the card are missing, altered, or out of reach.
    """
    rows = zip(photos.outside.photos, photos.outside.weights, strict=True)
    joined: list[object] = [[photo.id, photo.label, photo.digest, weight] for photo, weight in rows]
    if photos.wanted is not None:
        joined.append(hashlib.sha256(photos.wanted.tobytes()).hexdigest())
    return Birth(
        source=dataset.reading,
        extra=tuple(d.reading for d in sources.extra if d.reading is not None),
        unlabelled=tuple(d.reading for d in sources.unlabelled if d.reading is not None),
        teacher=None if sources.teacher is None else str(Path(sources.teacher).absolute()),
        outside=hash_json(joined) if joined else "",
        refused=photos.outside.refused,
        weights=weights_hash(card),
        code=code_hash(),
        place=str(Path.cwd()),
        processes=processes(),
    )


@contextmanager
def begin(store: RunStore, beginning: Beginning, resume: str | None, peers: Peers = ALONE) -> Iterator[Writer]:
    """The run that the first process writes; the others are told of it and look on.

    Raises:
        TrackingError: see `_writer`.
    """
    if peers.first:
        with _writer(store, beginning, resume) as run:
            peers.tell(run.id)
            peers.tell(str(run.folder))
            yield run
    else:
        yield NullWriter(peers.tell(), Path(peers.tell()))


def _writer(store: RunStore, beginning: Beginning, resume: str | None) -> RunWriter:
    """A new run, or the one to take up again.

    Raises:
        TrackingError: the run has finished, is under way, kept no checkpoints, or something has changed since.
    """
    b = beginning
    if resume is None:
        return store.start(b.recipe, b.dataset, b.machine, extra=b.told, birth=b.birth)
    old = can_resume(store, resume, command_for(b.birth.backbone))
    changed = dict.fromkeys([*differences(old, b), *_split_changed(store, old, b.split)])  # recipe and machine: threads
    if changed:
        raise TrackingError(
            f"run {old.id[:8]} cannot go on as it began: {'; '.join(changed)}; bring that back, or train anew"
        )
    return store.resume(old.id, b.dataset)


def can_resume(store: RunStore, run_id: str, command: str = "train") -> Run:
    """The run with this id, or a beginning of it, if it may be taken up again.

    Args:
        store: of runs.
        run_id: whole, or a beginning that no other run shares.
        command: `train` or `pretrain`, whose --resume asks.

    Raises:
        TrackingError: it has finished, is under way, keeps no checkpoints, or is another command's.
    """
    old = store.get(run_id)
    if old.status == "finished":
        raise TrackingError(f"run {old.id[:8]} has finished and is never edited; `runs rerun {old.id[:8]}` repeats it")
    if old.status == "running":
        raise TrackingError(f"run {old.id[:8]} is under way in another process; wait for its end")
    if old.birth is None or not old.birth.delivers:
        why = "it is a trial of a search" if old.birth else "an older version began it"
        raise TrackingError(f"run {old.id[:8]} keeps no checkpoints ({why}); train anew")
    if command != (theirs := command_for(old.birth.backbone)):
        raise TrackingError(
            f"run {old.id[:8]} was begun by {theirs}; `carspotter {theirs} --resume {old.id[:8]}` goes on"
        )
    return old


def bundle_place(run: Run) -> Path:
    """The folder where a run's bundle lies or shall lie, wherever it is asked from."""
    birth = run.birth or Birth()
    return Path(birth.output) if birth.output else Path(birth.place) / "models" / f"{run.name}-{run.id[:8]}"


def differences(old: Run, now: Beginning) -> list[str]:
    """What decides the weights and is not as it was when the run began, a sentence each."""
    found = [
        f"{key} was {then} and is {here}"
        for key, (then, here) in recipe_differences(old.recipe, now.recipe).items()
        if key not in NAMES
    ]
    if old.dataset != now.dataset.fingerprint:
        found.append(
            f"the photos or labels changed ({old.photos} then, fingerprint {old.dataset[:12]}; "
            f"{len(now.dataset.photos)} now, {now.dataset.fingerprint[:12]})"
        )
    birth = old.birth or Birth()
    if birth.outside != now.birth.outside:
        found.append(
            f"other outside photos train, or a teacher says otherwise: {_count(old.extra)} then, {_count(now.told)} now"
        )
    if birth.weights != now.birth.weights:
        found.append(
            f"it began with other weights of {now.recipe.backbone} (sha256 {birth.weights[:12] or 'none'} then, "
            f"{now.birth.weights[:12] or 'none'} now)"
        )
    if birth.code != now.birth.code:
        found.append(f"the code changed ({old.code_version} then, {code_version()} now)")
    if birth.processes != now.birth.processes:
        found.append(f"{birth.processes} processes then, {now.birth.processes} now")
    return found + list(_machine(old.machine, now.machine))


def _split_changed(store: RunStore, old: Run, split: Split) -> list[str]:
    if not old.split:  # killed before it was divided
        return []
    then = store.split(old.id)
    train, held_out = set(then.train), set(then.validation)
    if (train, held_out) == (set(split.train), set(split.validation)):
        return []
    moved = len(train.intersection(split.validation)) + len(held_out.intersection(split.train))
    sides = [f"{len(one.train)} train and {len(one.validation)} validate" for one in (then, split)]
    if then.method != split.method:
        sides = [f"{side}, by {one.method}," for side, one in zip(sides, (then, split), strict=True)]
    photos = f"{count(moved, 'photo')} changed sides"
    return [f"the photos are divided otherwise ({photos}; {sides[0]} then; {sides[1]} now)"]


def _machine(then: Machine, now: Machine) -> Iterator[str]:
    for name in DECIDES:
        a, b = getattr(then, name), getattr(now, name)
        if a == b:
            continue
        if not isinstance(a, dict):
            yield f"{name} was {a} and is {b}"
            continue
        for package in sorted({*a, *b}):
            if a.get(package) != b.get(package):
                yield f"{package} was {a.get(package, 'absent')} and is {b.get(package, 'absent')}"


def _count(told: tuple[str, ...]) -> str:
    return visible("; ".join(told)) or "none"


@cache
def code_hash() -> str:
    """sha256 over the package's code that can decide a weight: a version or commit may hide a change."""
    root = Path(carspotter.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if inside.parts[0] not in UNTOUCHED:
            digest.update(f"{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
