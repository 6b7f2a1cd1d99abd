"""A model of every fold: what views add on photos that its networks did not train, and what joining adds on others.

    python benchmarks/joined.py models/best ../shared/data/contest --apart ../shared/data/external/labelled.csv

SOURCE trained the model: each of its photos is answered by the one network that it did not train, plain and as the mean
of several views. The photos of `--apart` trained none of them: there the networks answer one by one, joined, and as one
network with the mean of their weights (a "model soup", Wortsman et al. 2022; statistics counted anew on SOURCE); and
it is said how well the temperature in the model's card, fitted on answers of single networks, fits the joined one.
The run store is the one that trained the model (CARSPOTTER_RUNS).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pooled import Pool, loss_difference, paired_accuracy, pool

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.classes import same_classes
from carspotter.data.source import read_source
from carspotter.evaluation.calibration import fit_temperature
from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.reliability import calibration_error
from carspotter.inference.bundle import read_bundle
from carspotter.inference.predictor import Predictor, load
from carspotter.records import Dataset, HeldOut, Photo
from carspotter.tracking.runs import open_store
from carspotter.training.beginning import bundle_place
from carspotter.training.explain import load_classifier
from carspotter.training.folds import soup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--views", default="2,10", help="numbers of views beside the plain photo")
    parser.add_argument("--apart", type=Path, help="labelled photos that trained none of the networks")
    options = parser.parse_args()
    card, store, dataset = read_bundle(options.model).card, open_store(), read_source(options.source)
    runs = [store.get(run) for run in (card.provenance.run_id, *card.provenance.also)]
    if len({run.recipe.split_seed for run in runs}) > 1:
        raise SystemExit(f"{options.model} is of several divisions (--repeats); name a model of one")
    members = [load(bundle_place(run)) for run in runs]
    held_out = [only(dataset, store.split(run.id).validation) for run in runs]

    plain = several(members, held_out, 1, "as it is")
    for views in map(int, options.views.split(",")):
        compare(plain, several(members, held_out, views, f"{views} views"), f"{views} views")
    if options.apart:
        apart = same_classes(read_source(options.apart), dataset)
        print(f"\n{len(apart.photos)} photos of {options.apart.name} apart")
        singles = [answers(member, apart, 1) for member in members]
        for number, one in enumerate(singles):
            print(f"network {number}: accuracy {pool([one]).accuracy}")
        together = answers(load(options.model), apart, 1)
        alone, joined = pool(singles), pool([together])
        print(f"one network, mean: accuracy {alone.accuracy.value:.3f}, log loss {alone.log_loss.value:.3f}")
        compare(alone, joined, "joined")
        compare(alone, pool([soup_answers(members, dataset, apart)]), "soup")
        if card.calibration:
            trust(singles, "single networks", card.calibration.temperature)
            trust([together], "joined", card.calibration.temperature)


def only(dataset: Dataset, ids: Sequence[str]) -> Dataset:
    wanted = set(ids)
    return dataset.subset([at for at, photo in enumerate(dataset.photos) if photo.id in wanted])


def answers(predictor: Predictor, dataset: Dataset, views: int) -> HeldOut:
    scores = predictor.scores(dataset, tta=views)
    label = {photo.id: at for photo, at in zip(dataset.photos, dataset.labels.tolist(), strict=True)}
    return HeldOut(scores.ids, scores.logits, np.array([label[one] for one in scores.ids], np.int64))


def soup_answers(members: Sequence[Predictor], source: Dataset, apart: Dataset) -> HeldOut:
    """Logits of the one network whose weights are the mean of all."""
    nets, geometry = [load_classifier(member.bundle) for member in members], members[0].card.geometry
    cache = PhotoCache(default_cache_folder(), finder=members[0].finder)

    def batches(photos: Sequence[Photo]) -> Iterator[torch.Tensor]:
        for start in range(0, len(photos), 32):
            pixels = [cache.pixels(photo, geometry) for photo in photos[start : start + 32]]
            yield nets[0].prepare(torch.from_numpy(np.stack(pixels)))

    one = soup(nets, batches(source.photos))
    with torch.no_grad():
        logits = torch.cat([one(batch) for batch in batches(apart.photos)]).numpy()
    return HeldOut(tuple(photo.id for photo in apart.photos), logits, apart.labels)


def several(members: Sequence[Predictor], held_out: Sequence[Dataset], views: int, name: str) -> Pool:
    started = time.perf_counter()
    found = pool([answers(one, photos, views) for one, photos in zip(members, held_out, strict=True)])
    seconds = time.perf_counter() - started
    each = seconds / len(found.ids)
    print(f"{name:10} accuracy {found.accuracy}, log loss {found.log_loss.value:.3f}, {each:.3f} s a photo", flush=True)
    return found


def trust(told: Sequence[HeldOut], name: str, temperature: float) -> None:
    """The temperature of the card beside that which these photos ask for, and what probabilities are worth by each."""
    logits, labels = np.concatenate([one.logits for one in told]), np.concatenate([one.labels for one in told])
    for what, t in {"the card's": temperature, "their own": fit_temperature(logits, labels)}.items():
        chances = softmax(logits.astype(np.float64) / t)
        right = chances.argmax(1) == labels
        error = calibration_error(chances.max(1), right)
        sure = chances.max(1).mean() - right.mean()
        print(f"{name}: {what} temperature {t:.2f}, calibration error {error}, mean confidence {sure:+.3f} too high")


def compare(a: Pool, b: Pool, name: str) -> None:
    loss, p = loss_difference(a, b)
    print(f"  {paired_accuracy(a, b).sentence('plain', name)}")
    print(f"  log loss {b.log_loss.value:.3f}, {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}], p {p:.3f}")


if __name__ == "__main__":
    main()
