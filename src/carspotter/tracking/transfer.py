"""Runs out of a store and into another: as a table to read, or as a zip that brings them back whole.

The zip holds `manifest.json` (every file with its sha256), and for each run, below `runs/ID/`, its journal, recipe,
split and held-out answers, and its model folder below `bundle/` where that still is what the run left. A zip may come
from a stranger: it is refused whole unless every name is one of these, every hash is right, every journal is one, and
every model folder is the one that its journal names.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from carspotter.data.archive import Archive, open_archive
from carspotter.data.disk import hash_file, whole_file
from carspotter.data.table import ENDINGS, write_table
from carspotter.data.wording import brief, cause, place_of, some
from carspotter.errors import CarspotterError, PhotoRefused, SourceError, TrackingError
from carspotter.inference.bundle import CARD, read_bundle
from carspotter.records import Record, Run
from carspotter.tracking.adoption import Fill
from carspotter.tracking.folder import BUNDLE, JOURNAL, RECIPE, RUN_ID, SPLIT
from carspotter.tracking.held_out import NAME as HELD_OUT
from carspotter.tracking.held_out import read_held_out
from carspotter.tracking.journal import read_journal
from carspotter.tracking.run_table import run_table
from carspotter.tracking.runs import RunStore

MANIFEST = "manifest.json"
VERSION = 1
"""The newest layout this version reads."""
FILES = (JOURNAL, RECIPE, SPLIT, HELD_OUT)
"""What of a run's folder goes along; checkpoints and pictures do not."""
MAX_MANIFEST = 64 * 2**20
"""Bytes (assumption): 100,000 runs."""
MAX_FILE = 2**31
"""Bytes (assumption): a network of 500 million weights."""


class Packed(Record):
    """One run in the zip."""

    id: str = Field(pattern=f"^{RUN_ID.pattern}$")  # whole: pydantic searches, and an id becomes a folder
    files: dict[str, str] = Field(description="name → sha256, of `FILES`")
    bundle: dict[str, str] = Field(default_factory=dict, description="name → sha256; empty where it is not along")

    def entries(self) -> dict[str, str]:
        """Entry of the zip → sha256."""
        own = {f"runs/{self.id}/{name}": digest for name, digest in self.files.items()}
        return own | {f"runs/{self.id}/{BUNDLE}/{name}": digest for name, digest in self.bundle.items()}


class Manifest(Record):
    """What the zip says about itself."""

    format: Literal["carspotter runs"] = "carspotter runs"
    version: int = VERSION
    runs: tuple[Packed, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """What an import did.

    Attributes:
        added: runs that were new.
        known: ids that were already there, with the same content.
    """

    added: tuple[Run, ...]
    known: tuple[str, ...]


# ---- out ------------------------------------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """Whether runs can be written to a file of this name.

    Raises:
        SourceError: an unknown ending.
    """
    if path.suffix.casefold() not in (*ENDINGS, ".zip"):
        raise SourceError(
            f"cannot write {brief(path)}: the ending must be .zip (everything, to import it again), "
            f"or {', '.join(ENDINGS)} (a table)"
        )


def export_runs(store: RunStore, runs: Sequence[Run], path: Path) -> tuple[str, ...]:
    """Write runs as a zip or as a table, by the ending; the file appears whole or not at all.

    Returns:
        A sentence for each run that went without its model.

    Raises:
        SourceError: an unknown ending, or a place that cannot be written.
        TrackingError: a run is still running, or its files cannot be read.
    """
    check_target(path)
    if path.suffix.casefold() != ".zip":
        write_table(path, *run_table(runs))
        return ()
    if running := [run.id for run in runs if run.status == "running"]:
        raise TrackingError(f"runs still running: {some(running)}; export them when they have ended")
    notes: list[str] = []
    home = store.folders()
    folders = [(run, home[run.id], _model_folder(run, notes)) for run in runs]
    try:
        with whole_file(path) as part, zipfile.ZipFile(part, "w") as packed:
            manifest = Manifest(runs=tuple(_pack(packed, run, folder, model) for run, folder, model in folders))
            packed.writestr(zipfile.ZipInfo(MANIFEST), manifest.model_dump_json(indent=1))
    except FileNotFoundError as fault:
        raise TrackingError(f"cannot read {fault.filename} ({cause(fault)}); it went away meanwhile") from None
    return tuple(notes)


def _model_folder(run: Run, notes: list[str]) -> Path | None:
    """The run's model, if what lies there is still the one it left."""
    if run.bundle is None or run.bundle_hash is None:
        return None
    try:
        found = read_bundle(run.bundle)
    except CarspotterError as fault:
        notes.append(f"run {run.id} goes without its model: {fault}")
        return None
    if found.hash != run.bundle_hash:
        notes.append(f"run {run.id} goes without its model: {run.bundle} holds another one by now")
        return None
    return found.folder


def _pack(packed: zipfile.ZipFile, run: Run, folder: Path, model: Path | None) -> Packed:
    files = {name: _add(packed, f"runs/{run.id}/{name}", folder / name) for name in FILES if (folder / name).exists()}
    names = () if model is None else (CARD, *read_bundle(model).card.files)
    bundle = {name: _add(packed, f"runs/{run.id}/{BUNDLE}/{name}", Path(model or "") / name) for name in names}
    return Packed(id=run.id, files=files, bundle=bundle)


def _add(packed: zipfile.ZipFile, entry: str, file: Path) -> str:
    """One file, stored as it is: weights do not shrink, and a hash is taken of the very bytes that are written."""
    digest = hashlib.sha256()
    # The date is always the same, so the same runs make the same zip.
    with file.open("rb") as source, packed.open(zipfile.ZipInfo(entry), "w", force_zip64=True) as target:
        while piece := source.read(2**20):
            digest.update(piece)
            target.write(piece)
    return digest.hexdigest()


# ---- in -------------------------------------------------------------------------------------------------------------


def import_runs(store: RunStore, path: Path) -> Moved:
    """Bring the runs of a zip into a store; what is there is never touched.

    Raises:
        SourceError: the zip is hostile or damaged, or holds other content under the id of a run that is there; every
            problem at once, and nothing was imported.
        TrackingError: the store cannot be read or written.
    """
    archive = open_archive(path)
    manifest = _manifest(archive)
    known = store.folders() if manifest.runs else {}
    faults = [*_name_faults(archive, manifest), *_other_content(manifest, known)]
    if faults:
        raise SourceError([f"{path}: {fault}" for fault in faults])
    new = [packed for packed in manifest.runs if packed.id not in known]
    store.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=store.home) as folder:
        staged = {packed.id: Path(folder) / packed.id for packed in new}
        faults = [fault for packed in new for fault in _stage(archive, packed, staged[packed.id])]
        if faults:
            raise SourceError([f"{path}: {fault}" for fault in faults])
        added = store.take_in({run_id: _mover(place) for run_id, place in staged.items()})
    return Moved(added, tuple(packed.id for packed in manifest.runs if packed.id in known))


def _manifest(archive: Archive) -> Manifest:
    wanted = "expected a zip that `carspotter runs export` wrote"
    try:
        stored = Manifest.model_validate_json(archive.read(MANIFEST, MAX_MANIFEST))
    except PhotoRefused as fault:
        raise SourceError(f"{archive.path}: {MANIFEST}: {fault.sentence}; {wanted}") from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = place_of(first["loc"])
        raise SourceError(f"{archive.path}: {MANIFEST}: {where} {first['msg']}; {wanted}") from None
    if stored.version > VERSION:
        raise SourceError(f"{archive.path} has layout {stored.version}, this version reads up to {VERSION}; upgrade")
    return stored


def _name_faults(archive: Archive, manifest: Manifest) -> list[str]:
    """Entries and names that no export writes."""
    times = Counter(packed.id for packed in manifest.runs)
    listed = {entry for packed in manifest.runs for entry in packed.entries()} | {MANIFEST}
    faults = [f"run {run_id} stands twice in the manifest" for run_id in sorted(times) if times[run_id] > 1]
    faults += [f"entry {brief(name)} is not in the manifest" for name in archive.names if name not in listed]
    faults += [f"entry {brief(name)} is missing" for name in sorted(listed.difference(archive.names))]
    for packed in manifest.runs:
        if strange := sorted(packed.files.keys() - set(FILES)):
            faults.append(f"run {packed.id} brings {some(strange)}, which is no part of a run")
        if JOURNAL not in packed.files:
            faults.append(f"run {packed.id} has no {JOURNAL}")
        if nested := sorted(name for name in packed.bundle if Path(name).name != name):
            faults.append(f"run {packed.id} brings {some(nested)}, which is no file of a model folder")
    return faults


def _other_content(manifest: Manifest, known: Mapping[str, Path]) -> Iterable[str]:
    for packed in manifest.runs:
        if packed.id in known:
            here = {name: hash_file(known[packed.id] / name) for name in FILES if (known[packed.id] / name).exists()}
            if differing := sorted(dict(here.items() ^ packed.files.items())):
                yield f"run {packed.id} is already there with other content ({', '.join(differing)}); runs never change"


def _stage(archive: Archive, packed: Packed, folder: Path) -> list[str]:
    """Unpack one run and judge it; a sentence for each problem."""
    faults = []
    for entry, digest in packed.entries().items():
        target = folder / entry.removeprefix(f"runs/{packed.id}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            data = archive.read(entry, MAX_FILE)
        except PhotoRefused as fault:
            faults.append(f"{entry}: {fault.sentence}")
            continue
        if hashlib.sha256(data).hexdigest() != digest:
            faults.append(f"{entry} is not what the manifest says (sha256); it was altered, copy the zip again")
        target.write_bytes(data)
    return faults or _content_faults(packed, folder)


def _content_faults(packed: Packed, folder: Path) -> list[str]:
    try:
        run = read_journal(folder / JOURNAL)
        if run.id != packed.id:
            return [f"the journal of run {packed.id} tells of run {brief(run.id)}"]
        if HELD_OUT in packed.files:
            read_held_out(folder)
        if packed.bundle and read_bundle(folder / BUNDLE).hash != run.bundle_hash:
            return [f"the model of run {packed.id} is not the one that its journal names"]
    except CarspotterError as fault:
        return [f"run {packed.id}: {fault}".replace(f"{folder}/", "")]
    return []


def _mover(staged: Path) -> Fill:
    def fill(folder: Path) -> None:
        for part in staged.iterdir():
            part.rename(folder / part.name)

    return fill
