"""The learning rate range test: a short training whose rate only rises (Smith 2017, arXiv:1506.01186, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.errors import RecipeError, TrainingError
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset
from carspotter.training.backbones import find_backbone
from carspotter.training.devices import DeviceName, device_for
from carspotter.training.loop import Trainee, memory_named, take_step
from carspotter.training.material import Batch, Material
from carspotter.training.shards import Shards
from carspotter.training.stages import Course
from carspotter.training.train import build, divide, fixed_threads, look

STEPS = 100
"""fastai's number; fewer leave the curve to chance, more cost time."""
LOWEST, HIGHEST = 1e-6, 1.0
"""Assumption: no stage of ours learned below the one or survived above the other."""
SMOOTHING = 0.9
"""Weight of what was before. Assumption: ten steps even out batches and still show the slope (fastai has 0.98 for
longer tests)."""
TOO_HIGH = 4.0
"""Times the lowest loss at which the test ends; fastai's."""
FEWEST = 10
"""Steps below which a curve says nothing (assumption)."""
CLEAR = 0.9
"""Share of its beginning to which the loss must fall before a suggestion deserves trust (assumption)."""


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What the test saw.

    Attributes:
        stage: its number in the recipe.
        name: of the stage.
        rates: (S,) of the head, rising.
        losses: (S,) of each batch, before its step.
        smooth: (S,) the same, evened out.
    """

    stage: int
    name: str
    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smooth: npt.NDArray[np.float64]

    @property
    def valley(self) -> float:
        """The suggestion: the middle of the longest fall of the loss (fastai's `valley`)."""
        fall = longest_fall(self.smooth)
        return float(self.rates[(fall[0] + fall[-1]) // 2])

    @property
    def steepest(self) -> float:
        """Where the loss falls fastest per factor of the rate, among the steps before its lowest point."""
        low = max(FEWEST, int(np.argmin(self.smooth))) + 1
        # The first means are of too few batches to have a slope.
        slope = np.gradient(self.smooth[:low], np.log(self.rates[:low]))[FEWEST // 2 :]
        return float(self.rates[FEWEST // 2 + int(np.argmin(slope))])

    @property
    def is_clear(self) -> bool:
        """Whether the loss fell enough for the curve to say anything."""
        return bool(self.smooth.min() < CLEAR * self.smooth[:FEWEST].mean())

    @property
    def lowest(self) -> float:
        """Where the loss is lowest: too high to train with, a tenth of it is a usual limit."""
        return float(self.rates[int(np.argmin(self.smooth))])


def find_rate(
    dataset: Dataset,
    recipe: Recipe,
    *,
    stage: int | None = None,
    cache: PhotoCache | None = None,
    device: DeviceName = "auto",
    progress: Progress = silent,
) -> RangeTest:
    """Train one stage for a hundred steps at rates that rise evenly on a logarithmic scale; nothing is kept.

    Other rates of the stage (`backbone_lr`, `layer_decay`) rise in proportion. Earlier stages are not trained first.

    Args:
        dataset: labelled.
        recipe: everything else.
        stage: its number; None: the first that trains.
        cache: of decoded photos.
        device: as for `train`.
        progress: told about photos and steps.

    Raises:
        RecipeError: there is no such stage.
        SourceError: as for `train`.
        TrainingError: the loss was not a number before there was a curve.
    """
    with fixed_threads(recipe.threads) as threads, device_for(device, recipe) as here:
        recipe = recipe.model_copy(update={"threads": threads})
        looked = look(dataset, progress=progress)
        train = set(divide(looked, recipe).train)
        photos = [i for i, photo in enumerate(looked.dataset.photos) if photo.id in train]
        course = Course(
            recipe=recipe,
            train=looked.dataset.subset(photos),
            held_out=looked.dataset.subset([]),
            weights=np.ones(len(photos), np.float32),
            cache=cache or PhotoCache(default_cache_folder()),
            started=lambda _: None,
            report=lambda *_: None,
            progress=progress,
            device=here,
        )
        number, chosen = _chosen(course, stage)
        classifier, _ = build(find_backbone(recipe.backbone, recipe.weights), course)
        classifier.to(here.where)
        with memory_named(chosen):
            trainee, material = course.prepare(classifier, number, chosen)
            return _rise(trainee, material, chosen, number, progress)


def _chosen(course: Course, stage: int | None) -> tuple[int, Stage]:
    """Raises RecipeError where there is no such stage."""
    stages = dict(course.stages)
    number = next(iter(stages)) if stage is None else stage
    if number not in stages:
        known = ", ".join(f"{number} ({stage.name})" for number, stage in stages.items())
        raise RecipeError(f"--stage {number}: recipe {course.recipe.name} trains the stages {known}")
    return number, stages[number]


def _rise(trainee: Trainee, material: Material, stage: Stage, number: int, progress: Progress) -> RangeTest:
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    shards = Shards(trainee.learner, trainee.shards, trainee.threads, trainee.device)
    losses: list[float] = []
    with shards.working():
        for step, batch in zip(range(STEPS), _endless(material, trainee), strict=False):
            try:
                loss, _, _ = take_step(trainee, shards, batch, stage, rates[step] / stage.lr, f"step {step + 1}")
            except TrainingError:
                if step < FEWEST:
                    raise
                break
            losses.append(loss)
            progress("steps", step + 1, STEPS)
            smooth = smoothed(losses)
            if step >= FEWEST and smooth[-1] > TOO_HIGH * smooth.min():
                break
    found = np.array(losses)
    return RangeTest(number, stage.name, rates[: len(found)], found, smoothed(losses))


def _endless(material: Material, trainee: Trainee) -> Iterator[list[Batch]]:
    for epoch in count():
        trainee.train_mode()
        yield from material.training(epoch)


def smoothed(losses: Sequence[float]) -> npt.NDArray[np.float64]:
    """Exponential mean, corrected for its start at zero (Kingma & Ba 2014)."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return np.array(found)


def longest_fall(losses: npt.NDArray[np.float64]) -> list[int]:
    """Positions of the longest run of ever lower losses, others between them left out."""
    length, before = np.ones(len(losses), int), np.full(len(losses), -1)
    for here in range(len(losses)):
        for there in range(here):
            if losses[there] > losses[here] and length[there] + 1 >= length[here]:  # the latest of equals
                length[here], before[here] = length[there] + 1, there
    run, at = [], int(np.argmax(length))
    while at >= 0:
        run.append(at)
        at = int(before[at])
    return run[::-1]


def rounded(rate: float) -> float:
    """Two digits: the test knows no more."""
    return float(f"{rate:.1e}")


def suggestion(test: RangeTest, stage: Stage) -> tuple[str, ...]:
    """The `--set` texts that give a stage the suggested rate, its backbone's own in proportion."""
    texts = [f"stage.{test.stage}.lr={rounded(test.valley):g}"]
    if stage.backbone_lr is not None:
        ratio = test.valley / stage.lr
        texts.append(f"stage.{test.stage}.backbone_lr={rounded(stage.backbone_lr * ratio):g}")
    return tuple(texts)


def draw_range_test(test: RangeTest, path: Path) -> None:
    """The curve with its suggestion, as PNG or whatever the ending says.

    Raises:
        SourceError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    from carspotter.data.disk import whole_file

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="0.75", linewidth=1, label="each batch")
    axes.plot(test.rates, test.smooth, color="tab:blue", label="evened out")
    for rate, style, name in (
        (test.valley, "-", "suggested"),
        (test.steepest, "--", "steepest"),
        (test.lowest, ":", "lowest"),
    ):
        axes.axvline(rate, color="tab:orange", linestyle=style, linewidth=1, label=f"{name} {rate:.1e}")
    axes.set(xscale="log", xlabel="learning rate of the head", ylabel="loss", title=f"Stage {test.stage}, {test.name}")
    axes.set_ylim(0, min(1.05 * test.losses.max(), TOO_HIGH * test.smooth.min()))
    axes.legend(frameon=False, loc="upper left")
    with whole_file(path) as part:
        figure.savefig(part, format=path.suffix.removeprefix(".") or "png", dpi=120)
