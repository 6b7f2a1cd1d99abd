"""Keeps a training: when a checkpoint is due, what is in it, and how it is taken up again.

Every step is a pure function of the weights, the optimiser's state and numbers that stand in the recipe, so a
checkpoint needs no random state.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from carspotter.errors import SourceError, TrackingError, TrainingError, TrainingStopped
from carspotter.progress import Progress
from carspotter.recipe import Stage
from carspotter.training.backbones import resize_backbone
from carspotter.training.checkpoint import Checkpoint, Checkpoints, all_finite
from carspotter.training.classifier import Classifier
from carspotter.training.devices import ALONE, Peers
from carspotter.training.loop import StageState, Sums, TrainUnit
from carspotter.training.null_writer import Writer
from carspotter.training.stopping import Stop, end, listening

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints within an epoch: what a kill costs at most. Assumption: one minute is no loss to mourn."""
EPOCH_SECONDS = 10.0
"""Between two checkpoints at epochs' ends. Lite0 with average and AdamW is 55 MB and takes 0.25 to 0.4 s of processor
time here (2026-11-22, busy cores), so some 3 % at most."""


class Checkpointer:
    """The checkpoints of one training.

    Args:
        classifier: what is trained; `take_up` fills it.
        run: the only writer of the run.
        progress: told what the user should know.
        keep: whether anything is saved at all.
        peers: processes of this training; the first saves, all stop and go on together.
        command: the one whose --resume goes on.
    """

    def __init__(
        self,
        classifier: Classifier,
        run: Writer,
        progress: Progress,
        *,
        keep: bool = True,
        peers: Peers = ALONE,
        command: str = "train",
    ) -> None:
        self._peers = peers
        self._classifier = classifier
        self._run = run
        self._progress = progress
        self._keep = keep
        self._files = Checkpoints(run.folder, self._say)
        self._found: Checkpoint | None = None
        self._stage, self._size = -1, (0, 0)
        self._stage_began = self._saved = time.monotonic()
        self._complained = False
        self._stop = Stop()
        self._command = f"carspotter {command} --resume {run.id[:8]}"
        self._scaler: torch.amp.GradScaler | None = None

    def take_up(self) -> None:
        """Go on where the newest sound checkpoint stands, or begin anew where there is none."""
        if self._peers.first:
            self._files.tidy()
        self._found = self._files.newest()
        self._peers.any(False)  # all have read before the first one writes
        if self._found is None:
            self._run.resumed(0, {}, 0.0)
            return
        facts = self._found.facts
        resize_backbone(self._classifier.backbone, *facts["size"])
        self._classifier.load_state_dict(self._found.part("model"))
        self._stage, self._size = facts["stage"], facts["size"]
        self._run.resumed(facts["epochs"], facts["timings"], facts["seconds"])

    @contextmanager
    def stage(self, number: int, stage: Stage) -> Iterator[bool]:
        """The time of one stage; whether it has to be trained at all, or was before."""
        found = None if self._found is None else self._found.facts
        if found is not None and number < found["stage"]:
            yield False
            return
        before = found["stage_seconds"] if found is not None and found["standing"] and number == found["stage"] else 0.0
        self._stage, self._size = number, (stage.height, stage.width)
        self._stage_began = time.monotonic() - before
        yield True
        self._run.timing(f"stage {stage.name}", time.monotonic() - self._stage_began)
        self._stage += 1
        self._save(None, {})

    def begin(self, unit: TrainUnit, averaged: ModelEmaV3 | None) -> StageState:
        """Where the stage stands: at its beginning, or where the checkpoint says, which is used up by this."""
        self._scaler = unit.scaler
        found, self._found = self._found, None
        if found is None or found.facts["standing"] is None:
            return StageState()
        if averaged is not None:
            averaged.module.load_state_dict(found.part("average"))
        fill_optimizer(unit.optimizer, found.part("optimizer"))
        if unit.scaler and found.facts["scaler"]:
            unit.scaler.load_state_dict(found.facts["scaler"])
        standing = dict(found.facts["standing"])
        best = found.part("best") or None
        return StageState(**{**standing, "sums": Sums(**standing["sums"])}, best=best)

    def listening(self) -> AbstractContextManager[None]:
        """The time in which a signal waits for the end of its step."""
        return listening(self._stop) if self._keep else nullcontext()

    def after(self, now: StageState, unit: TrainUnit, averaged: ModelEmaV3 | None) -> None:
        """After each step and each epoch: save where that is due or somebody asked to stop.

        Raises:
            KeyboardInterrupt, SystemExit: somebody did.
        """
        if not self._keep:
            return
        due = EPOCH_SECONDS if now.step == 0 else CHECKPOINT_SECONDS
        asked = self._stop.asked
        if self._peers.any(asked is not None):
            asked = asked or signal.SIGTERM  # another process was asked; all stop after the same step
        if asked is not None or time.monotonic() - self._saved >= due:
            self._save(now, self._state(now, unit, averaged))
        if asked is not None:
            end(asked)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Whatever ends the training says how to go on.

        Raises:
            TrainingError: with the place of the last good checkpoint.
        """
        if not self._keep:
            yield
            return
        try:
            yield
        except TrainingError as fault:
            if isinstance(fault, TrainingStopped) or not self._files.any:
                raise
            raise TrainingError(
                f"{fault}; the last good checkpoint is kept in {self._files.folder}, from which "
                f"`{self._command}` goes on once the cause is gone"
            ) from None
        except BaseException:  # told, never held
            self._say(f"go on with: {self._command}")
            raise
        if self._peers.first:
            self._files.clear()

    def _state(self, now: StageState, unit: TrainUnit, averaged: ModelEmaV3 | None) -> dict[str, Tensor]:
        return {
            **_named("average", {} if averaged is None else averaged.module.state_dict()),
            **_named("best", now.best or {}),
            **_named("optimizer", flat_optimizer(unit.optimizer)),
        }

    def _save(self, now: StageState | None, tensors: Mapping[str, Tensor]) -> None:
        model = self._classifier.state_dict()
        if (
            not self._keep or not self._peers.first or not all_finite(model)
        ):  # the next step says so; what was good stays
            return
        facts = {
            "stage": self._stage,
            "size": list(self._size),
            "standing": None if now is None else _plain(now),
            "scaler": self._scaler.state_dict() if self._scaler else None,
            "stage_seconds": time.monotonic() - self._stage_began,
            "epochs": self._run.epochs,
            "timings": self._run.timings,
            "seconds": self._run.seconds,
        }
        try:
            self._files.write(Checkpoint(facts, {**_named("model", model), **tensors}))
        except SourceError as fault:
            self._complain(fault)
        self._saved = time.monotonic()

    def _complain(self, fault: SourceError) -> None:
        """Once: a full disk costs the checkpoint, not the training; the older ones are whole."""
        if not self._complained:
            kept = "the one before it is whole" if self._files.any else "there is none yet"
            self._say(f"no checkpoint could be saved, the training goes on and {kept}: {fault}")
        self._complained = True

    def _say(self, sentence: str) -> None:
        self._progress("checkpoint", 0, 0, sentence)


def _plain(now: StageState) -> dict[str, Any]:
    """A standing without its tensors."""
    names = ("epoch", "step", "rate", "seconds", "val_losses", "best_accuracy", "waited")
    return {**{name: getattr(now, name) for name in names}, "sums": asdict(now.sums)}


def _named(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def flat_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of each parameter as tensors `number.key`; rates stand in the recipe and are set at every step.

    Raises:
        TrackingError: an optimiser keeps something that is neither tensor nor number.
    """
    flat: dict[str, Tensor] = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                flat[f"{number}.{key}"] = value
            elif value is not None:
                raise TrackingError(
                    f"{type(optimizer).__name__} keeps {key} as {type(value).__name__}; it has no place"
                )
    return flat


def fill_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Put back what `flat_optimizer` took out.

    Moments get the strides of their parameter: kernels for another order in memory may round otherwise.
    """
    parameters = _parameters(optimizer)
    for name, value in flat.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        here = value.clone()
        if value.shape == parameter.shape and value.ndim:
            here = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
        optimizer.state[parameter][key] = here
