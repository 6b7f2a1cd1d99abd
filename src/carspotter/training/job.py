"""What is asked of one training beside its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carspotter.records import EpochRecord, Join
from carspotter.training.devices import DeviceName
from carspotter.training.outside import ALONE, Sources

Watch = Callable[[EpochRecord], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of one training; what decides its weights stands in the recipe.

    Attributes:
        outside: photos of other sources; they train, weighed by the recipe, and never validate.
        strict: refuse sources with photos that cannot be used, those from outside too.
        deliver: export and validate a bundle; without it the run ends with the figures of the net itself.
        resume: id of an interrupted or failed run that this goes on with, in everything else as it began.
        device: `auto` takes CUDA where there is one. Of several processes (`torchrun`) the first writes; the
            others return its run as far as it is.
        watch: called with each finished epoch; what it raises ends the training.
        backbone: name under which the backbone is kept afterwards (`pretrain`); empty: it is not.
        note: for the card of that backbone.
        join: how the networks of every fold become one model (`train_folds`).
        repeats: how often every fold is trained, each time of another division (`train_folds`); at least 1.
    """

    outside: Sources = ALONE
    strict: bool = False
    deliver: bool = True
    resume: str | None = None
    device: DeviceName = "auto"
    watch: Watch | None = None
    backbone: str = ""
    note: str = ""
    join: Join = "mean"
    repeats: int = 1

    @property
    def command(self) -> str:
        """The one whose --resume goes on with it."""
        return command_for(self.backbone)


def command_for(backbone: str) -> str:
    """The command that trains for a bundle, or for a backbone of this name."""
    return "pretrain" if backbone else "train"


USUAL = Job()
