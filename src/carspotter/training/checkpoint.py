"""Checkpoints: everything that the next step depends on, on disk, whole or not at all.

One safetensors file each: tensors, and plain values as JSON in its header. Its name carries a number and the sha256 of
its bytes, so a file that is damaged in any way is recognised before it is read. Two are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from carspotter.data.disk import read_capped, sync, whole_file
from carspotter.data.wording import cause, count
from carspotter.errors import SourceError

FORMAT = 1
KEPT = 2
"""The newest and the one before it, which is used when the newest is damaged."""
MAX_BYTES = 16 * 2**30
"""Assumption: a network of 300 M parameters with its average, best state and optimiser takes 7 GB."""
FOLDER = "checkpoints"
_ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved.

    Attributes:
        facts: JSON values.
        tensors: by dotted name.
    """

    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors below a name, by the rest of theirs."""
        return {key.removeprefix(f"{name}."): t for key, t in self.tensors.items() if key.startswith(f"{name}.")}


class Checkpoints:
    """The checkpoints of one run; one writer at a time, which holds the run's lock.

    Args:
        folder: of the run.
        tell: told, in a sentence, about a damaged checkpoint.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder = folder / FOLDER
        self._tell = tell

    def write(self, checkpoint: Checkpoint) -> None:
        """Save beside, flush, read back, rename; only then does the third newest go.

        Raises:
            SourceError: the disk is full, read-only or broken; older checkpoints are as they were.
        """
        data = _pack(checkpoint)
        digest = hashlib.sha256(data).hexdigest()
        names = self._names()
        number = 1 + (int(names[0].partition("-")[0]) if names else 0)
        with whole_file(self.folder / f"{number:08d}-{digest}{_ENDING}") as part:
            part.write_bytes(data)
            sync(part)
            if hashlib.sha256(part.read_bytes()).hexdigest() != digest:
                raise OSError("what was read back is not what was written")
        self._remove(names[KEPT - 1 :])

    def newest(self) -> Checkpoint | None:
        """The newest sound one; None where there is none, and the training begins anew.

        Raises:
            SourceError: the folder cannot be read, so nothing is known of what is in it.
        """
        names = self._names()
        for name in names:
            try:
                return _unpack(read_capped(self.folder / name, MAX_BYTES), name)
            except (SourceError, ValueError) as fault:
                self._tell(f"checkpoint {self.folder / name} is damaged ({fault}); the one before it is used")
        if names:
            self._tell(f"{count(len(names), 'checkpoint')} and none is sound; the run begins anew")
        return None

    @property
    def any(self) -> bool:
        """Whether there is one, sound or not; False where the folder cannot be read."""
        try:
            return bool(self._names())
        except SourceError:
            return False

    def tidy(self) -> None:
        """Remove what writers that were killed left half-written."""
        with suppress(OSError):
            for path in self.folder.glob(".*.part"):
                path.unlink()

    def clear(self) -> None:
        """Remove all: the run has finished."""
        self.tidy()
        with suppress(SourceError):
            self._remove(self._names())
        with suppress(OSError):
            self.folder.rmdir()

    def _names(self) -> list[str]:
        """The newest first.

        Raises:
            SourceError: the folder cannot be read.
        """
        try:
            return sorted((path.name for path in self.folder.glob(f"[0-9]*-*{_ENDING}")), reverse=True)
        except OSError as fault:
            raise SourceError(f"cannot read {self.folder}: {cause(fault)}; check the disk") from None

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with suppress(OSError):
                (self.folder / name).unlink()


def _pack(checkpoint: Checkpoint) -> bytes:
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.tensors.items()}
    return save(tensors, {"facts": json.dumps({"format": FORMAT, **checkpoint.facts})})


def _unpack(data: bytes, name: str) -> Checkpoint:
    """Raises ValueError where the bytes are not those that were written, or of another version."""
    if hashlib.sha256(data).hexdigest() != name.partition("-")[2].removesuffix(_ENDING):
        raise ValueError("its bytes do not have the hash in its name")
    try:
        tensors = load(data)
    except SafetensorError as fault:
        raise ValueError(str(fault)) from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    facts = json.loads(header["facts"])
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']} instead of {FORMAT}: another version of carspotter wrote it")
    return Checkpoint(facts, tensors)


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no tensor holds infinity or not-a-number."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
