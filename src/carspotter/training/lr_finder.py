"""The learning rate range test: a short training whose rate only rises (Smith 2017, arXiv:1506.01186, section 3.3).

What is read from its curve is where the loss falls, measured in loss: from the rate at which a tenth of the whole fall
is done to the one at which nine tenths are, as engineers measure a rise. fastai's `valley` counts steps instead: the
middle of the longest run of ever lower losses. Where the loss hardly moves at first, as under a fresh head, that run is
a long even crawl, its middle lies two decades below the fall, and chance decides (seen: 2.3e-4 where the fall was
steepest at 3.5e-2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.errors import RecipeError, TrainingError
from carspotter.progress import Progress, silent
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset
from carspotter.training.backbones import find_backbone
from carspotter.training.build import build
from carspotter.training.devices import Device, DeviceName
from carspotter.training.finder import finder_for
from carspotter.training.gather import gather
from carspotter.training.loop import TrainUnit, memory_named, take_step
from carspotter.training.shards import Shards
from carspotter.training.stage_data import Batch, StageData
from carspotter.training.stages import TrainingPlan
from carspotter.training.workplace import workplace

Curve = npt.NDArray[np.float64]

STEPS = 100
"""fastai's number; fewer leave the curve to chance, more cost time."""
LOWEST, HIGHEST = 1e-6, 1.0
"""Assumption: no stage of ours learned below the one or survived above the other."""
SMOOTHING = 0.9
"""Weight of what was before in the mean that ends the test. Assumption: ten steps even out batches (fastai has 0.98 for
longer tests). It lags by half a decade, so nothing is read from it."""
TOO_HIGH = 4.0
"""Times the lowest loss at which the test ends; fastai's."""
FEWEST = 10
"""Steps below which a curve says nothing (assumption); as many at the beginning tell where the loss starts."""
WIDTH = 0.25
"""Decades: sigma of the weights that even out the curve, four steps of a hundred (assumption: of a fall, which takes a
decade or two, this hides nothing)."""
EDGE = 0.1
"""Share of the fall left out at either end, as in a rise time of 10 to 90 %: where it begins and ends to the last
percent is noise."""
LEAST_FALL = 0.1
"""Of the loss at the beginning; less is called flat (assumption)."""
LEAST_SIGMAS = 4.0
"""Standard errors that the fall must have (assumption): the lowest of many even points lies two below by chance."""


@dataclass(frozen=True, slots=True)
class Fall:
    """Where the loss falls, in rates of the head.

    Attributes:
        begin: a tenth of the fall is done.
        middle: between begin and end on the logarithmic scale; the suggestion.
        steepest: where it falls fastest per factor of the rate.
        end: nine tenths are done; the lowest loss lies above, and training there would be at its limit.
    """

    begin: float
    middle: float
    steepest: float
    end: float


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What the test saw.

    Attributes:
        stage: its number in the recipe.
        name: of the stage.
        rates: (S,) of the head, rising.
        losses: (S,) of each batch, before its step.
    """

    stage: int
    name: str
    rates: Curve
    losses: Curve

    @property
    def smooth(self) -> Curve:
        """(S,) the losses evened out; what is above the beginning says nothing and counts as the beginning."""
        return evened(self.rates, np.minimum(self.losses, self.losses[:FEWEST].max()))

    @property
    def start(self) -> float:
        """The loss before any rate did anything."""
        return float(self.losses[:FEWEST].mean())

    @property
    def share(self) -> float:
        """Of that loss, how much the curve falls at most."""
        return 1 - float(self.smooth.min()) / self.start

    @property
    def fall(self) -> Fall | None:
        """Where the loss falls; None where it is flat, or falls no more than chance lets it."""
        smooth = self.smooth
        low = int(np.argmin(smooth))
        depth = self.start - smooth[low]
        if low < FEWEST or depth < max(LEAST_FALL * self.start, LEAST_SIGMAS * self._chance(low, smooth)):
            return None
        done = (self.start - smooth[: low + 1]) / depth
        begin = int(np.flatnonzero(done <= EDGE)[-1]) if (done <= EDGE).any() else 0
        end = begin + int(np.argmax(done[begin:] >= 1 - EDGE))
        slope = np.gradient(smooth, np.log(self.rates))[begin : end + 1]
        first, last = float(self.rates[begin]), float(self.rates[end])
        return Fall(first, float(np.sqrt(first * last)), float(self.rates[begin + int(np.argmin(slope))]), last)

    def _chance(self, low: int, smooth: Curve) -> float:
        """Standard error of a fall down to this point: of the beginning's mean and of the even curve there.

        Single losses scatter as they do around the curve until then.
        """
        spread = (self.losses - smooth)[: low + 1].std()
        return float(spread * np.sqrt(1 / FEWEST + (_evening(self.rates)[low] ** 2).sum()))


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
    with workplace(recipe, device) as (resolved, here):
        photos = (cache or PhotoCache(default_cache_folder())).with_finder(finder_for(resolved))
        plan = _plan(dataset, resolved, photos, here, progress)
        number, chosen = _chosen(plan, stage)
        classifier, _ = build(find_backbone(recipe.backbone, recipe.weights), plan)
        classifier.to(here.where)
        with memory_named(chosen):
            unit, stage_data = plan.prepare(classifier, number, chosen)
            return _rise(unit, stage_data, chosen, number, progress)


def _plan(dataset: Dataset, recipe: Recipe, cache: PhotoCache, device: Device, progress: Progress) -> TrainingPlan:
    """The photos that would train; nothing is held out, recorded or reported."""
    photos = gather(dataset, recipe, cache=cache, progress=progress)
    return TrainingPlan(
        recipe=recipe,
        train=photos.train,
        held_out=photos.held_out.subset([]),
        weights=photos.weights,
        wanted=photos.wanted,
        groups=np.zeros(0, dtype=np.int64),
        cache=cache,
        started=lambda _: None,
        report=lambda *_: None,
        progress=progress,
        device=device,
    )


def _chosen(plan: TrainingPlan, stage: int | None) -> tuple[int, Stage]:
    """Raises RecipeError where there is no such stage."""
    stages = dict(plan.stages)
    number = next(iter(stages)) if stage is None else stage
    if number not in stages:
        known = ", ".join(f"{number} ({stage.name})" for number, stage in stages.items())
        raise RecipeError(f"--stage {number}: recipe {plan.recipe.name} trains the stages {known}")
    return number, stages[number]


def _rise(unit: TrainUnit, stage_data: StageData, stage: Stage, number: int, progress: Progress) -> RangeTest:
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    shards = Shards(unit.learner, unit.shards, unit.threads, unit.device)
    losses: list[float] = []
    with shards.working():
        for step, batch in zip(range(STEPS), _endless(stage_data, unit), strict=False):
            try:
                loss, _, _ = take_step(unit, shards, batch, stage, rates[step] / stage.lr, f"step {step + 1}")
            except TrainingError:
                if step < FEWEST:
                    raise
                break
            losses.append(loss)
            progress("steps", step + 1, STEPS)
            mean = smoothed(losses)
            if step >= FEWEST and mean[-1] > TOO_HIGH * mean.min():
                break
    return RangeTest(number, stage.name, rates[: len(losses)], np.array(losses))


def _endless(stage_data: StageData, unit: TrainUnit) -> Iterator[list[Batch]]:
    for epoch in count():
        unit.train_mode()
        yield from stage_data.training(epoch)


def smoothed(losses: Sequence[float]) -> Curve:
    """Exponential mean of what was so far, corrected for its start at zero (Kingma & Ba 2014)."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return np.array(found)


def evened(rates: Curve, losses: Curve) -> Curve:
    """(S,) a straight line through the neighbours of each point, by their distance in decades (local linear, Fan 1992).

    Unlike a mean of what was so far it does not lag, and unlike a mean of neighbours it does not bend at the ends.
    """
    found: Curve = _evening(rates) @ losses
    return found


def _evening(rates: Curve) -> npt.NDArray[np.float64]:
    """(S, S) what each loss counts in each point of the even curve; rows sum to 1."""
    at = np.log10(rates)
    apart = at[None, :] - at[:, None]
    near = np.exp(-0.5 * (apart / _sigma(rates)) ** 2)
    first, second = (near * apart).sum(1, keepdims=True), (near * apart**2).sum(1, keepdims=True)
    counts = near * (second - apart * first)
    rows: npt.NDArray[np.float64] = counts / counts.sum(1, keepdims=True)
    return rows


def _step(rates: Curve) -> float:
    """Decades from one rate to the next."""
    return float(np.log10(rates[-1] / rates[0]) / (len(rates) - 1))


def _sigma(rates: Curve) -> float:
    """WIDTH, or two steps where the test was so coarse that a line through fewer would follow every batch."""
    return max(WIDTH, 2 * _step(rates))


def rounded(rate: float) -> float:
    """Two digits: the test knows no more."""
    return float(f"{rate:.1e}")


def suggestion(test: RangeTest, stage: Stage) -> tuple[str, ...]:
    """The `--set` texts of the suggested rate, and of the backbone's own in proportion; none for a flat curve."""
    if test.fall is None:
        return ()
    texts = [f"stage.{test.stage}.lr={rounded(test.fall.middle):g}"]
    if stage.backbone_lr is not None:
        ratio = test.fall.middle / stage.lr
        texts.append(f"stage.{test.stage}.backbone_lr={rounded(stage.backbone_lr * ratio):g}")
    return tuple(texts)
