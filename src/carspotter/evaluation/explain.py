"""Where in a photo a net saw one class rather than another: exact where the head is linear, and no torch.

With average pooling and a linear head, logit k is `bias_k + mean over cells of row_k · feature`. So the map
`(row_a - row_b) · feature` is no estimate: its mean is the lead of a over b, less the difference of their biases. The
map of one class is the class activation map (B. Zhou et al., "Learning deep features for discriminative localization",
CVPR 2016); the comparison with a near class instead of the class alone is that of Finer-CAM (Z. Zhang et al.,
"Finer-CAM: spotting the difference reveals finer details for visual explanation", CVPR 2025), with its weight 1, which
makes the sum exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from carspotter.records import Pixels

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
"""(C, h, w), or (tokens, C) of a net without a map, as `runtime.Outputs.feature_map` has it for one photo."""
Pooling = Literal["avg", "max", "avgmax"]

CLOSE = 1e-3
"""Largest |difference| between a net's logits and its rows' that is rounding, as a share of 1 + the largest |logit|;
sums in single precision differ by 1e-6 (`training/ship.py` allows as much between torch and ONNX)."""
MOST_PREFIX = 16
"""Tokens that stand for no place (class, distillation, registers). Assumption: DINOv2 has 5, no net has three times."""
FOR, AGAINST = (230, 85, 0), (0, 114, 220)
"""Vermilion and blue (M. Okabe, K. Ito, "Color universal design", 2008, a little brighter), which colour-blind eyes
tell apart."""
STRONGEST = 0.72
"""Share of colour where the map is strongest. Assumption, by eye: the car must be seen beneath."""
_BATCHNORM_EPSILON = 1e-5  # torch's default, which `training/classifier.py` keeps


@dataclass(frozen=True, slots=True, eq=False)
class HeadRows:
    """A linear head as it acts on the pooled feature map; whatever linear stands between is folded in.

    Attributes:
        weight: (K, C) f32.
        bias: (K,) f32; zeros where there is none.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"weight {self.weight.shape} and bias {self.bias.shape}; expected (K, C) and (K,)")


def head_rows(head: Mapping[str, npt.NDArray[np.float32]], hidden: int) -> HeadRows | None:
    """The rows of a head whose layers are a linear one with at most a BatchNorm before it.

    In use (not in training) BatchNorm is `scale · x + shift` with fixed numbers, so it folds into the linear layer:
    row · scale, and bias + row · shift. Dropout does nothing then.

    Args:
        head: tensors by their names in `training.classifier.Head` (`linear.weight`, `body.0.running_var`, …).
        hidden: width of the hidden layer, 0 for none.

    Returns:
        None where the head is not linear, or the tensors are not those of such a head.
    """
    weight = head.get("linear.weight")
    if hidden or weight is None or weight.ndim != 2:
        return None
    rows = HeadRows(weight, head.get("linear.bias", np.zeros(len(weight), np.float32)))
    norm = [head.get(f"body.0.{name}") for name in ("weight", "bias", "running_mean", "running_var")]
    if all(part is None for part in norm):
        return rows
    if any(part is None or part.shape != weight.shape[1:] for part in norm):
        return None
    gain, offset, mean, variance = (np.asarray(part, np.float64) for part in norm)
    scale = gain / np.sqrt(variance + _BATCHNORM_EPSILON)
    bias = rows.bias + weight @ (offset - mean * scale)
    return HeadRows((weight * scale).astype(np.float32), bias.astype(np.float32))


def pool(features: Features, pooling: Pooling) -> Floats:
    """(C,) the pooled vector of one photo's feature map."""
    return np.asarray(_parts(features, pooling).mean(1))


def agrees(features: Features, rows: HeadRows, logits: npt.NDArray[np.float32], pooling: Pooling) -> bool:
    """Whether these rows, on this feature map, give the logits that the net itself gave for the photo.

    Args:
        features: of one photo.
        rows: the head as it is said to be.
        logits: (K,) the net's.
        pooling: as it is said to be.
    """
    if rows.weight.shape != (len(logits), len(_flat(features))):
        return False
    difference = np.abs(rows.weight @ pool(features, pooling) + rows.bias - logits).max()
    return bool(difference <= CLOSE * (1 + np.abs(logits).max()))


def heatmap(
    features: Features, answer: npt.NDArray[np.float32], against: npt.NDArray[np.float32], pooling: Pooling = "avg"
) -> Floats:
    """What each cell of the feature map adds to the lead of one class over another.

    Args:
        features: of one photo.
        answer: (C,) head row of the class that the map speaks for.
        against: (C,) row of the other.
        pooling: with `max`, a channel counts where it is largest and nowhere else.

    Returns:
        (h, w), or (tokens,) for a net without a map (`lay_out` places them); above 0 speaks for the answer, below for
        the other. The mean over all of them is the difference of both logits less that of both biases.
    """
    cells = (np.asarray(answer, np.float64) - against) @ _parts(features, pooling)
    return cells.reshape(features.shape[1:]) if features.ndim == 3 else cells


def lay_out(cells: Floats, height: int, width: int) -> Floats | None:
    """A map by places: (h, w) as it stands, or a transformer's tokens in rows and columns.

    Tokens that stand for no place come first in every net of timm and are left out; the others are scaled so that the
    mean over places is what they add to the lead.

    Args:
        cells: (h, w) or (tokens,).
        height: rows of the photo that the net saw, pixels.
        width: columns.

    Returns:
        (h, w), or None where no square patch cuts such a photo into so many tokens.
    """
    if cells.ndim == 2:
        return cells
    for side in range(1, min(height, width) + 1):
        if height % side or width % side:
            continue
        shape = (height // side, width // side)
        prefix = len(cells) - shape[0] * shape[1]
        if 0 <= prefix <= MOST_PREFIX:
            return cells[prefix:].reshape(shape) * ((len(cells) - prefix) / len(cells))
    return None


def upsample(cells: Floats, height: int, width: int) -> Floats:
    """A map in the size of a picture: linear between the centres of cells, level beyond the outermost.

    Args:
        cells: (h, w).
        height: rows wanted.
        width: columns wanted.

    Returns:
        (height, width).
    """
    return _spread(cells.shape[0], height).T @ cells @ _spread(cells.shape[1], width)


def overlay(pixels: Pixels, heat: Floats, peak: float | None = None) -> Pixels:
    """The photo in grey with the map over it: vermilion speaks for the answer, blue for the other class.

    Args:
        pixels: (H, W, 3).
        heat: (H, W), of the same photo.
        peak: |heat| of the strongest colour; None takes the map's own.

    Returns:
        (H, W, 3).
    """
    top = peak or float(np.abs(heat).max()) or 1.0
    share = STRONGEST * np.clip(np.abs(heat) / top, 0, 1)[..., None]
    grey = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]  # ITU-R BT.601 luma
    colour = np.where(heat[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    return np.asarray(np.rint((1 - share) * grey + share * colour), dtype=np.uint8)


def _flat(features: Features) -> Floats:
    """(C, cells)."""
    wide = np.asarray(features, np.float64)
    return wide.reshape(len(wide), -1) if wide.ndim == 3 else wide.T


def _parts(features: Features, pooling: Pooling) -> Floats:
    """(C, cells) whose mean over cells is the pooled vector."""
    flat = _flat(features)
    if pooling == "avg":
        return flat
    channels, peaks = np.arange(len(flat)), flat.argmax(1)
    largest = np.zeros_like(flat)
    largest[channels, peaks] = flat[channels, peaks] * flat.shape[1]
    return largest if pooling == "max" else 0.5 * (flat + largest)


def _spread(cells: int, size: int) -> Floats:
    """(cells, size) share of each cell in each pixel of a line."""
    at = (np.arange(size) + 0.5) * cells / size - 0.5
    return np.stack([np.interp(at, np.arange(cells), unit) for unit in np.eye(cells)])
