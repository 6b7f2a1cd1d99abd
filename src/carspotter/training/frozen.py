"""What is frozen is computed once: a network cut at a freeze point, and what its lower part makes of every photo.

Pooled features (all units frozen) are kept in single precision, activations at a freeze point in half: one file per
view, on disk, bounded, keyed by content.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from carspotter.data.cache import MADE_BY as PHOTOS_MADE_BY
from carspotter.data.disk import whole_file
from carspotter.data.views import ViewRanges
from carspotter.errors import BackboneError, SourceError, TrainingError
from carspotter.progress import Progress, silent
from carspotter.records import hash_json
from carspotter.training.augment import BatchTransform
from carspotter.training.classifier import Body, Classifier, pool
from carspotter.training.loop import evaluating
from carspotter.training.stage_data import PhotoSet, ahead, draw, even_batches
from carspotter.training.units import find_freeze_point, units

MAX_BYTES = 2 * 2**30
"""Largest total of stored views. Assumption: 11 views of 4,000 photos, 48 kB each at the input of Lite0's blocks.4 for
240×320, are more than two cores train on."""

MADE_BY = f"3-torch{torch.__version__}-{torchvision.__version__}-timm{timm.__version__}-photos{PHOTOS_MADE_BY}"
"""Part of every key. Raise the number when views or pooling change their result."""

BATCH = 64
"""Photos per step of a frozen network; 32 to 128 made no difference on two cores."""


class Upper(nn.Module):
    """The units of a body from a freeze point up, and its pooling: activations in, one vector each out.

    Args:
        body: cut here; parameters are shared.
        point: see `find_freeze_point`.
    """

    def __init__(self, body: Body, point: str) -> None:
        super().__init__()
        if body.pooling == "own":
            raise ValueError("a network that pools by itself cannot be cut")
        start = find_freeze_point(body.backbone, point)
        self.units = nn.Sequential(*(unit for _, unit in units(body.backbone)[start:]))
        self._pooling = body.pooling

    def forward(self, activations: Tensor) -> Tensor:
        """What enters the freeze point → (N, C)."""
        return pool(self.units(activations), self._pooling)


class _Reached(Exception):
    """Carries what enters a freeze point out of the network."""


def lower(body: Body, point: str, prepared: Tensor) -> Tensor:
    """What enters a freeze point, or the pooled vectors where all units are frozen; nothing above is run."""
    start, parts = find_freeze_point(body.backbone, point), units(body.backbone)
    if start == len(parts):
        return cast("Tensor", body(prepared))
    reached: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        reached.append(inputs[0])
        raise _Reached

    handle = parts[start][1].register_forward_pre_hook(stop)
    try:
        body.feature_map(prepared)
    except _Reached:
        return reached[0]
    finally:
        handle.remove()
    raise BackboneError(f"nothing enters {point!r}; name another freeze point")


def can_cut(body: Body, point: str, prepared: Tensor) -> bool:
    """Whether the part above a freeze point is the plain chain of its units, on these photos.

    Networks whose blocks take more than one tensor, or that pool by themselves, cannot be cut.
    """
    if body.pooling == "own" or body.channels_last_map:
        return False
    with evaluating(body):
        whole = body(prepared)
        try:
            parts = Upper(body, point).eval()(lower(body, point, prepared))
        except (TypeError, RuntimeError):  # the chain does not even fit
            return False
    return parts.shape == whole.shape and torch.allclose(parts, whole, rtol=1e-3, atol=1e-4)


def enters_as_map(body: Body, point: str, prepared: Tensor) -> bool:
    """Whether (N, C, h, w) maps enter a freeze point; a ViT's are (N, tokens, C)."""
    with evaluating(body):
        return lower(body, point, prepared).ndim == 4


@dataclass(frozen=True, slots=True)
class Views:
    """Which views of the photos are computed.

    Attributes:
        count: V random views of each photo; 1 plain one where `ranges` is None.
        ranges: of the random views.
        policy: a stronger policy on the pixels, or None.
        seed: of the views.
        policy_name: names the policy in the key.
    """

    count: int = 1
    ranges: ViewRanges | None = None
    policy: BatchTransform | None = None
    policy_name: str = ""
    seed: int = 0


class FrozenPart:
    """The lower part of a classifier, run once per photo and view.

    Args:
        classifier: only its body below the freeze point is used.
        point: a freeze point, or `head` for the pooled vectors.
        folder: where results are kept; None computes each time.
        progress: told about each batch.
    """

    def __init__(self, classifier: Classifier, point: str, folder: Path | None, progress: Progress = silent) -> None:
        self._classifier = classifier
        self._point = point
        self._folder = folder
        self._progress = progress
        body = classifier.body
        self._pooled = find_freeze_point(body.backbone, point) == len(units(body.backbone))

    def bytes_per_view(self, photos: PhotoSet) -> int:
        """What one view of these photos takes."""
        some = self._run(photos.pixels(np.arange(1), None, ()))
        return len(photos) * some.numel() * some.element_size()

    def views(self, photos: PhotoSet, wanted: Views) -> list[Tensor]:
        """One tensor (N, …) per view: pooled vectors in f32, activations in f16.

        Where there is a folder they are its files, mapped: the system takes their pages from memory when it needs room,
        so that all views together may be larger than it.

        Raises:
            TrainingError: a photo can no longer be read.
        """
        name = self._key(photos, wanted)
        made = []
        for view in range(wanted.count):
            path = None if self._folder is None else self._folder / f"{name}-{view}.safetensors"
            stored = None if path is None else _read(path)
            if stored is None:
                stored = self._compute(photos, wanted, view)
                if path is not None:
                    _write(stored, path)
                    mapped = _read(path)  # None where the disk is full: then it stays in memory
                    stored = stored if mapped is None else mapped
                    _evict(path.parent, MAX_BYTES)  # what is mapped lives on until it is let go
            made.append(stored.contiguous())  # as it lies on disk: another layout rounds otherwise
        return made

    def _compute(self, photos: PhotoSet, wanted: Views, view: int) -> Tensor:
        chunks = even_batches(np.arange(len(photos)), BATCH)
        made, done = torch.empty(0), 0
        with closing(ahead(lambda i: photos.pixels(i, wanted.ranges, (wanted.seed, view)), chunks)) as batches:
            for number, pixels in enumerate(batches):
                draw((wanted.seed, view, number))
                part = self._run(pixels if wanted.policy is None else wanted.policy(pixels))
                if not done:  # as large as the whole view at once: to join parts would take it twice
                    made = part.new_empty((len(photos), *part.shape[1:]))
                made[done : done + len(part)] = part
                done += len(part)
                self._progress("features", view * len(photos) + done, wanted.count * len(photos))
        return made

    def _run(self, pixels: Tensor) -> Tensor:
        with evaluating(self._classifier):
            made = lower(self._classifier.body, self._point, self._classifier.prepare(pixels))
        kept = made if self._pooled else made.half()
        if not self._pooled and bool(kept.isinf().any()):
            largest = f"up to {float(made.abs().max()):.0f}, 65,504 fit"
            raise TrainingError(
                f"what enters {self._point} is too large for half precision ({largest}); set views = 0 in that stage"
            )
        return kept.cpu().clone()  # a clone leaves inference mode behind, so that a head can be trained on it

    def _key(self, photos: PhotoSet, wanted: Views) -> str:
        body = self._classifier.body
        start = find_freeze_point(body.backbone, self._point)
        above = {
            id(part) for _, unit in units(body.backbone)[start:] for part in unit.state_dict(keep_vars=True).values()
        }
        # What belongs to no unit (a ViT's tokens) counts as below.
        below = {name: t for name, t in body.backbone.state_dict(keep_vars=True).items() if id(t) not in above}
        return hash_json(
            {
                "made_by": MADE_BY,
                "weights": state_hash(below),
                "network": hashlib.sha256(
                    repr(body.backbone).encode()
                ).hexdigest(),  # equal weights may be padded otherwise
                "device": str(self._classifier.mean.device),
                "processor": torch.backends.cpu.get_cpu_capability(),
                "point": None if self._pooled else start,
                "pooling": body.pooling if self._pooled else None,
                "mean": self._classifier.mean.flatten().tolist(),
                "std": self._classifier.std.flatten().tolist(),
                "geometry": photos.geometry.model_dump(),
                "finder": photos.finder,
                "ranges": wanted.ranges and asdict(wanted.ranges),
                "policy": wanted.policy_name,
                "seed": wanted.seed if wanted.ranges or wanted.policy else None,
                "photos": [photo.digest for photo in photos.photos],
                "threads": torch.get_num_threads(),  # sums in another order differ in the last bits
            }
        )


def state_hash(state: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of a state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tensor | None:
    """A stored view, mapped from its file, or None where there is none or it is not what was written."""
    try:
        stored = load_file(path)
        os.utime(path)  # eviction takes the longest unused first
        made, seal = stored["made"], stored["seal"]
    except (SafetensorError, OSError, KeyError):
        return None
    return made if torch.equal(seal, _seal(made)) else None


def _seal(made: Tensor) -> Tensor:
    """A checksum: a flipped bit on disk would train something else than it says."""
    return torch.tensor([zlib.crc32(np.ascontiguousarray(made.numpy()).data)], dtype=torch.int64)


def _write(made: Tensor, path: Path) -> None:
    """A full disk costs the time of computing again, never the training."""
    with suppress(SourceError), whole_file(path) as part:
        part.write_bytes(save({"made": made.contiguous(), "seal": _seal(made)}))


def _evict(folder: Path, max_bytes: int) -> None:
    """Remove the longest unused; another process may do the same at this moment."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob("*.safetensors"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = 0
    for number, (_, size, path) in enumerate(sorted(found, reverse=True)):
        total += size
        if total > max_bytes and number:
            with suppress(OSError):
                path.unlink()
