"""What a network said, as arrays: everything after it is a pure function of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from carspotter.records.photos import Rejected

Logits = npt.NDArray[np.float32]
"""(N, K) unnormalised scores; higher is likelier."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the network said. Everything after it is a pure function of this.

    Attributes:
        ids: N photo ids, in the order asked, refused ones left out.
        logits: (N, K) f32; higher is likelier; softmax gives uncalibrated probabilities.
        embeddings: (N, D) f32; the input of the last linear layer.
        rejected: photos without a row, with their reason.
        notes: photo id → what decoding it left out, mended or ignored; only of photos with a row and a note.
    """

    ids: tuple[str, ...]
    logits: Logits
    embeddings: npt.NDArray[np.float32]
    rejected: tuple[Rejected, ...] = ()
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.logits) == len(self.embeddings):
            raise ValueError(
                f"{len(self.ids)} ids, {len(self.logits)} rows of logits and {len(self.embeddings)} embeddings"
            )


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What a net answered on its validation photos, kept with the run so that runs compare photo by photo.

    Attributes:
        ids: N photo ids; refused ones are left out.
        logits: (N, K) f32, finite; higher is likelier.
        labels: (N,) i64 class index of each photo, in the order of the run's `classes`.
        groups: (N,) i64 equal where photos are no separate witnesses: near copies, photos of one ad. The numbers mean
            nothing outside this run. None: not known, so each photo counts by itself.
    """

    ids: tuple[str, ...]
    logits: Logits
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n, k = self.logits.shape if self.logits.ndim == 2 else (-1, 0)
        if self.labels.shape != (n,) or len(self.ids) != n or len(set(self.ids)) != n:
            raise ValueError(
                f"{len(self.ids)} ids, logits {self.logits.shape} and labels {self.labels.shape}; "
                "expected one row and one label for each of N different photos"
            )
        if not np.isfinite(self.logits).all() or (n and not 0 <= self.labels.min() <= self.labels.max() < k):
            raise ValueError(f"a logit is not a finite number, or a label is outside 0..{k - 1}")
        if self.groups is not None and self.groups.shape != (n,):
            raise ValueError(
                f"groups are {self.groups.shape}; expected one row and one label and one group for each photo"
            )

    def as_scores(self, rejected: tuple[Rejected, ...] = ()) -> Scores:
        """The same answers without their labels; embeddings were not kept."""
        return Scores(self.ids, self.logits, np.zeros((len(self.ids), 0), np.float32), rejected)
