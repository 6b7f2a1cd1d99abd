"""A bundle is a folder that explains itself: `card.json`, `model.onnx`, `model.safetensors`.

Most also have `reference.safetensors` (what they were taught with, `reference.py`) and `finder.onnx` (`finder.py`).

A model folder may come from a stranger, so nothing in it is trusted: the card is JSON with a size cap and no unknown
key, every file it names is hashed before use, and only ONNX and safetensors are ever opened.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from carspotter.data.disk import hash_file, sync
from carspotter.data.wording import cause, place_of
from carspotter.errors import BundleError
from carspotter.records import FORMAT_VERSION, BundleCard

CARD, MODEL, WEIGHTS, FINDER = "card.json", "model.onnx", "model.safetensors", "finder.onnx"
MAX_CARD_BYTES = 16 * 2**20
"""Assumption: a card of 1,000 classes with its confusion table takes about 3 MB."""
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit on its JSON header
_ENDINGS = (".onnx", ".safetensors")
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model folder.

    Attributes:
        folder: where it lies.
        card: everything it says about itself.
        notes: what lies in the folder and was left alone, one sentence each.
    """

    folder: Path
    card: BundleCard
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over the weights and the card without run id and times."""
        return self.card.hash

    def read(self, name: str) -> bytes:
        """The bytes of one of its files, verified as they are handed out.

        A folder that is replaced between `read_bundle` and this call is noticed, not mixed.

        Raises:
            BundleError: the file is gone or no longer what the card says.
        """
        try:
            data = (self.folder / name).read_bytes()
        except OSError as fault:
            raise BundleError(f"cannot read {self.folder / name}: {cause(fault)}; copy the folder again") from None
        _compare(name, hashlib.sha256(data).hexdigest(), self.card.files[name], len(data))
        return data


def read_bundle(folder: str | Path) -> Bundle:
    """Read and verify a model folder.

    Raises:
        BundleError: no bundle, damaged, altered, of a newer format, or with anything in it that is refused.
    """
    folder = Path(folder)
    entries = _entries(folder)
    card = _parse_card(_read_card(folder), folder)
    _check_card(card, folder)
    notes = tuple(_foreign(folder, name, entries[name]) for name in sorted(entries.keys() - {CARD, *card.files}))
    for name, expected in card.files.items():
        if name not in entries:
            raise BundleError(f"{folder} lacks {name}, which its card names; copy the whole folder again")
        _verify(folder / name, expected)
    return Bundle(folder, card, notes)


def write_bundle(folder: str | Path, card: BundleCard, files: Mapping[str, Path]) -> Bundle:
    """Write a model folder whole, or not at all; an older bundle of that name is replaced.

    The files are copied into a hidden folder beside the target, synced, and verified by `read_bundle` itself; then two
    renames put the old folder aside and the new one in its place. A reader finds the old bundle, the new one, or (for
    the moment between the renames) none, never half of one: what a rename moves is a finished folder. Killed in
    between, the old bundle lies whole in `.NAME.old`; `read_bundle` names that place and the next `write_bundle` starts
    from it. (Linux could swap both in one call, other systems cannot.)

    Args:
        folder: the target; its parents are made.
        card: names and hashes exactly these files.
        files: file name → where it lies now.

    Raises:
        BundleError: the target is no bundle, a file does not match the card, or the disk refuses.
    """
    folder = Path(folder)
    if set(files) != set(card.files):
        raise ValueError(f"the card names {sorted(card.files)}, but {sorted(files)} were given")
    fresh: Path | None = None
    try:
        fresh = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.new"
        folder.parent.mkdir(parents=True, exist_ok=True)
        _heal(folder)
        check_target(folder)
        _fill(fresh, card, files)
        _swap(fresh, folder)
    except OSError as fault:
        raise BundleError(f"cannot write {folder}: {cause(fault)}; free the place or name another") from None
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
    return Bundle(folder, card)


def check_target(folder: str | Path) -> None:
    """Pass when a bundle can be written there; ask before an hour of training, not after it.

    Raises:
        BundleError: the target is neither absent, nor empty, nor a bundle that holds nothing but its own files; it
            is where we are, and a run writes there meanwhile; or its place cannot be written to.
    """
    folder = Path(folder)
    if Path.cwd().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder} is the folder you are in, or above it; it is not replaced: name one inside it")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    _try_folder(folder, above)
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{folder} is a link or file, not a model folder; it is not replaced: name another folder")
    present = {entry.name for entry in folder.iterdir()}
    if not present:
        return
    if CARD not in present:
        raise BundleError(f"{folder} is no model folder ({len(present)} entries); it is not replaced: name another one")
    foreign = present - {CARD, *_parse_card(_read_card(folder), folder).files}
    if foreign:
        raise BundleError(f"{folder} also holds {min(foreign)!r}, which would be lost; move it or name another folder")


def _try_folder(folder: Path, above: Path) -> None:
    """By making one, for an administrator's rights say that every folder takes some."""
    try:
        with tempfile.TemporaryDirectory(dir=above):
            pass
    except OSError as fault:
        raise BundleError(
            f"cannot write {folder}: {above} is no folder that may be written to ({cause(fault)}); name another place"
        ) from None


# ---- writing --------------------------------------------------------------------------------------------------------


def _put_aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _heal(folder: Path) -> None:
    """Bring back the older bundle that a killed replacement left aside."""
    if not folder.exists() and _put_aside(folder).is_dir():
        _put_aside(folder).rename(folder)


def _fill(fresh: Path, card: BundleCard, files: Mapping[str, Path]) -> None:
    fresh.mkdir()
    for name, source in files.items():
        shutil.copyfile(source, fresh / name)
        sync(fresh / name)
    (fresh / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    sync(fresh / CARD)
    sync(fresh)
    read_bundle(fresh)


def _swap(fresh: Path, folder: Path) -> None:
    aside = _put_aside(folder)
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        _heal(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


# ---- the folder -----------------------------------------------------------------------------------------------------


def _entries(folder: Path) -> dict[str, os.stat_result]:
    """What lies in the folder, links not followed."""
    try:
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
    except OSError as fault:
        cure = "name one that `train` wrote"
        if _put_aside(folder).is_dir():
            cure = f"an interrupted replacement left the older one as {_put_aside(folder)}: rename it back"
        raise BundleError(f"{folder} is no model folder: {cause(fault)}; {cure}") from None
    if CARD not in found:
        raise BundleError(f"{folder} is no model folder: it has no {CARD}; name one that `train` wrote")
    links = [name for name, facts in found.items() if stat.S_ISLNK(facts.st_mode)]
    if links:
        raise BundleError(f"{folder} holds a link, {links[0]!r}, which is refused; copy the file itself in its place")
    return found


def _foreign(folder: Path, name: str, facts: os.stat_result) -> str:
    """A note on an entry that the card does not name, or a refusal where it could be taken for a model file."""
    ending = Path(name).suffix.lower()
    if ending in _PICKLES:
        raise BundleError(f"{folder} holds {name!r}, a format that can run code; it is refused unread: remove it")
    if ending in _ENDINGS or not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        raise BundleError(f"{folder} holds {name!r}, which its card does not name; remove it")
    return f"{name!r} is no part of the bundle and was left alone"


# ---- the card -------------------------------------------------------------------------------------------------------


class _Version(BaseModel):
    """The one key that is read before all others, so that a newer card is called newer, not wrong."""

    format_version: int


def _read_card(folder: Path) -> bytes:
    path = folder / CARD
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(f"{path} is no regular file; copy the whole folder again")
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES + 1)
    except OSError as fault:
        raise BundleError(f"cannot read {path}: {cause(fault)}; check its permissions") from None
    if len(text) > MAX_CARD_BYTES:
        raise BundleError(f"{path} is larger than {MAX_CARD_BYTES:,} bytes; no card is, so it is refused")
    return text


def _parse_card(text: bytes, folder: Path) -> BundleCard:
    try:
        version = _Version.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{folder} is of format {version}, this version reads up to {FORMAT_VERSION}; update carspotter"
            )
        return BundleCard.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = place_of(first["loc"]) or "the text"
        more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
        raise BundleError(f"{folder / CARD}: {where}: {first['msg']}{more}; copy the folder again") from None


def _check_card(card: BundleCard, folder: Path) -> None:
    if len(set(card.classes)) != len(card.classes) or len(card.codes) != len(card.classes):
        raise BundleError(
            f"{folder / CARD}: {len(card.classes)} classes, {len(set(card.classes))} of them distinct, and "
            f"{len(card.codes)} codes; expected one code for each distinct class"
        )
    for name, digest in card.files.items():
        if not _PLAIN_NAME.fullmatch(name) or not name.endswith(_ENDINGS):
            raise BundleError(
                f"{folder / CARD}: file {name!r} is refused; expected a plain name with {' or '.join(_ENDINGS)}"
            )
        if not _SHA256.fullmatch(digest):
            raise BundleError(f"{folder / CARD}: {name} has no sha256 ({digest[:80]!r}); copy the folder again")
    if MODEL not in card.files:
        raise BundleError(f"{folder / CARD} names no {MODEL}; train again")
    if card.geometry.frame == "car" and FINDER not in card.files:
        raise BundleError(f"{folder / CARD} shows the car alone and names no {FINDER}; train again")


# ---- the files ------------------------------------------------------------------------------------------------------


def _verify(path: Path, expected: str) -> None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(f"{path} is no regular file; copy the whole folder again")
        size = path.stat().st_size
        with path.open("rb") as file:
            _refuse_disguise(path, file.read(9), size)
        _compare(path.name, hash_file(path), expected, size)
    except OSError as fault:
        raise BundleError(f"cannot read {path}: {cause(fault)}; check its permissions") from None


def _refuse_disguise(path: Path, start: bytes, size: int) -> None:
    """Refuse a pickle under another name by its first bytes; nothing parses it."""
    # Pickle protocols 2-5 start with 0x80 and their number; torch.save writes a zip around one.
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise BundleError(f"{path} is a pickle or archive under another name, which can run code; it is refused unread")
    if path.suffix == ".safetensors":
        header = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{" or header > min(_MAX_HEADER_BYTES, size - 8):
            raise BundleError(f"{path} is no safetensors file ({size:,} bytes); copy the folder again")


def _compare(name: str, found: str, expected: str, size: int) -> None:
    if found != expected:
        raise BundleError(
            f"{name} is damaged or altered: {size:,} bytes with sha256 {found[:12]}…, the card says {expected[:12]}…; "
            "copy the folder again, or train again"
        )
