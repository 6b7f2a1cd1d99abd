"""What is frozen is computed once: pooled features of every photo and view, on disk, bounded, keyed by content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from carspotter.data.cache import MADE_BY as PHOTOS_MADE_BY
from carspotter.data.views import ViewRanges
from carspotter.progress import Progress, silent
from carspotter.records import hash_json
from carspotter.training.classifier import Classifier
from carspotter.training.loop import evaluating
from carspotter.training.material import PhotoSet, ahead, even_batches

MAX_BYTES = 2 * 2**30
"""Largest total of stored features. Assumption: fifty sets of 10,000 photos × 1,280 features in float32."""

MADE_BY = f"1-torch{torch.__version__}-timm{timm.__version__}-photos{PHOTOS_MADE_BY}"
"""Part of every key. Raise the number when views or pooling change their result."""

BATCH = 64
"""Photos per step of a frozen network; 32 to 128 made no difference on two cores."""


def pooled_features(
    classifier: Classifier,
    photos: PhotoSet,
    *,
    ranges: ViewRanges | None,
    views: int,
    seed: int,
    folder: Path | None,
    progress: Progress = silent,
) -> Tensor:
    """The frozen backbone's pooled output for every photo and view.

    Args:
        classifier: only its backbone and pooling are used.
        photos: N photos with digests.
        ranges: of the random views; None for one plain view.
        views: V random views of each photo.
        seed: of the views.
        folder: where results are kept; None computes each time.
        progress: told about each batch.

    Returns:
        (V, N, C) float32; V is 1 when `ranges` is None.
    """
    views = 1 if ranges is None else views
    key = _key(classifier, photos, ranges, views, seed)
    stored = None if folder is None else _read(folder / f"{key}.safetensors")
    if stored is not None:
        return stored
    done = 0

    def computed(more: int) -> None:
        nonlocal done
        done += more
        progress("features", done, views * len(photos))

    features = torch.stack([_one_view(classifier, photos, ranges, (seed, view), computed) for view in range(views)])
    if folder is not None:
        _write(features, folder / f"{key}.safetensors")
        _evict(folder, MAX_BYTES)
    return features


def _one_view(
    classifier: Classifier,
    photos: PhotoSet,
    ranges: ViewRanges | None,
    seed: tuple[int, int],
    computed: Callable[[int], None],
) -> Tensor:
    index = torch.arange(len(photos)).numpy()
    parts = []
    with evaluating(classifier):
        for pixels, _ in ahead(lambda chunk: photos.batch(chunk, ranges, seed), even_batches(index, BATCH)):
            parts.append(classifier.pool(classifier.feature_map(classifier.prepare(pixels))))
            computed(len(pixels))
    # Leaving inference mode behind, so that a head can be trained on them.
    return torch.cat(parts).clone()


def _key(classifier: Classifier, photos: PhotoSet, ranges: ViewRanges | None, views: int, seed: int) -> str:
    return hash_json(
        {
            "made_by": MADE_BY,
            "weights": state_hash(classifier.backbone.state_dict()),
            "pooling": classifier.pooling,
            "mean": classifier.mean.flatten().tolist(),
            "std": classifier.std.flatten().tolist(),
            "geometry": photos.geometry.model_dump(),
            "ranges": ranges and asdict(ranges),
            "views": views,
            "seed": seed,
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
    try:
        features = load_file(path)["features"]
        os.utime(path)  # eviction takes the longest unused first
    except (SafetensorError, OSError, KeyError):
        return None
    return features


def _write(features: Tensor, path: Path) -> None:
    """Beside its target, then renamed. A full disk costs the time of computing again, never the training."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            save_file({"features": features.contiguous()}, fresh)
            fresh.replace(path)
    except (OSError, SafetensorError):
        return


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
