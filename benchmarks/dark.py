"""What darkness costs a model, and whether lightening photos before the net gives any of it back.

    python benchmarks/dark.py models/cars ../shared/data/contest

The photos that the model held out are answered as they are, and with an eighth and a fortieth of their light (in
linear light, with the rounding of 8 bits that a camera adds), each plain, stretched (auto-contrast, half a percent of
the pixels at either end left out), and with the gamma that brings the mean to the middle. Beside each stands the paired
difference to the same photos plain; beside the dark ones plain, that to the photos as they are. Models trained with
other ranges of brightness (`--set stage.N.augment.brightness=[0.2,1.4]`) are compared by running this for each. The run
store is the one that trained the model (CARSPOTTER_RUNS).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.framing import stretched
from carspotter.data.source import read_source
from carspotter.evaluation.metrics import log_losses
from carspotter.evaluation.paired import mean_difference, pair, percent_points
from carspotter.evaluation.shares import wilson
from carspotter.inference.predictor import Predictor, load
from carspotter.records import Photo, Pixels
from carspotter.tracking.runs import open_store
from carspotter.workers import in_order, usable_cores

LIGHT = {"as they are": 1.0, "1/8 of the light": 1 / 8, "1/40 of the light": 1 / 40}
Change = Callable[[Pixels], Pixels]


def dim(pixels: Pixels, share: float) -> Pixels:
    """A photo with a share of its light."""
    if share == 1:
        return pixels
    value = pixels / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) * share
    back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * back).astype(np.uint8)


def gamma(pixels: Pixels) -> Pixels:
    """The power that brings the mean of a photo to the middle; a bright photo stays as it is."""
    mean = float(np.clip(pixels.mean() / 255, 0.004, 0.996))
    power = min(1.0, np.log(0.5) / np.log(mean))
    return np.round(255 * (pixels / 255) ** power).astype(np.uint8)


CHANGES: dict[str, Change] = {"plain": lambda pixels: pixels, "stretched": stretched, "gamma": gamma}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path)
    options = parser.parse_args()
    predictor, dataset = load(options.model), read_source(options.source)
    if predictor.card.members > 1:
        raise SystemExit(f"every labelled photo trained some network of {options.model}; name one fold's model")
    held_out = set(open_store().split(predictor.card.provenance.run_id).validation)
    some = dataset.subset([at for at, photo in enumerate(dataset.photos) if photo.id in held_out])
    rows = np.arange(len(some.photos))
    usual: npt.NDArray[np.float32] | None = None
    for light, share in LIGHT.items():
        plain: npt.NDArray[np.float32] | None = None
        for name, change in CHANGES.items():
            logits = answers(predictor, some.photos, share, change)
            right = logits.argmax(1) == some.labels
            line = f"{light:18} {name:10} {wilson(int(right.sum()), len(right))}"
            beside = usual if name == "plain" else plain
            if beside is not None:
                found = pair(rows, beside.argmax(1) == some.labels, rows, right)
                loss, _ = mean_difference(log_losses(logits, some.labels) - log_losses(beside, some.labels))
                line += f"  {percent_points(found.difference)}"
                line += f", log loss {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}]"
            print(line, flush=True)
            usual = logits if usual is None else usual
            plain = logits if plain is None else plain


def answers(predictor: Predictor, photos: tuple[Photo, ...], share: float, change: Change) -> npt.NDArray[np.float32]:
    """(N, K) logits of changed photos."""

    def one(photo: Photo) -> npt.NDArray[np.float32]:
        return predictor.outputs(predictor.view(change(dim(predictor.decoded(photo), share)))).logits[0]

    threads = usable_cores()
    return np.stack(list(in_order(one, photos, threads=threads, ahead=2 * threads)))


if __name__ == "__main__":
    main()
