"""Which detector knows a stranger: classes are left out of a training in turn, then the net is asked about them.

    python benchmarks/unknown.py ../shared/data/contest --recipe fast --groups 5 --set stage.1.epochs=3

The classes are dealt into groups; for each, a training on the others holds out one fold of them. The held-out photos
are the known, the left-out classes the strangers: near ones, other models of the same makes. Every detector of
`evaluation.unknown` judges both by what the net makes of them. What is chosen here is shipped; photos of real strangers
(`../shared/data/unknown`) are looked at afterwards, once. A backbone that has seen the classes elsewhere (the car net)
would make it easier than it is. `--store` keeps what each net said: started again, only what is missing is trained, and
detectors can be changed without training anything.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.scan import scan
from carspotter.data.source import read_source
from carspotter.errors import CarspotterError
from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.unknown import DETECTORS, Known, auroc, strangeness_bound
from carspotter.inference.predictor import Predictor, load
from carspotter.recipe import load_recipe
from carspotter.records import Dataset, Scores, hash_json
from carspotter.tracking.runs import open_store
from carspotter.training.train import train

REFUSED = 0.05
"""Known photos that may be called strangers where recall is told."""
Arrays = dict[str, npt.NDArray[np.float32]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE on top of the recipe")
    parser.add_argument("--groups", type=int, default=5, help="how many the classes are dealt into")
    parser.add_argument("--store", type=Path, default=Path("runs/benchmarks/unknown"))
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    os.environ["CARSPOTTER_RUNS"] = f"sqlite:///{options.store.absolute() / 'runs.db'}"
    fold = ["split.method=folds", "split.folds=4", "split.fold=0"]
    recipe, dataset = load_recipe(options.recipe, [*fold, *options.set]), scan(read_source(options.source)).dataset
    found = []
    for number in range(options.groups):
        left_out = dataset.classes[number :: options.groups]
        path = options.store / f"{hash_json([recipe.model_dump(mode='json'), dataset.fingerprint, left_out])[:16]}.npz"
        if not path.exists():
            run = train(without(dataset, left_out), recipe, out=options.store / "model")
            print(f"without {', '.join(left_out)}: accuracy {run.accuracy} on the others", flush=True)
            np.savez(path, **asked(load(options.store / "model"), dataset, left_out, run.id))
        found.append(dict(np.load(path)))
    report(found)
    return 0


def without(dataset: Dataset, left_out: tuple[str, ...]) -> Dataset:
    """The photos of the other classes."""
    kept = [at for at, name in enumerate(dataset.classes) if name not in left_out]
    return replace(
        dataset,
        photos=tuple(photo for photo in dataset.photos if photo.label not in left_out),
        classes=tuple(dataset.classes[at] for at in kept),
        codes=tuple(dataset.codes[at] for at in kept),
    )


def asked(predictor: Predictor, dataset: Dataset, left_out: tuple[str, ...], run: str) -> Arrays:
    """What the net says of the photos that trained it, of those held out, and of strangers."""
    split = open_store().split(run)
    label = {photo.id: photo.label for photo in dataset.photos}
    made: Arrays = {}
    for name, ids in (("train", set(split.train)), ("known", set(split.validation)), ("strange", None)):
        wanted = [at for at, p in enumerate(dataset.photos) if (p.label in left_out if ids is None else p.id in ids)]
        scores: Scores = predictor.scores(dataset.subset(wanted))
        made |= {f"{name}_embeddings": scores.embeddings, f"{name}_logits": scores.logits}
        if ids is not None:
            labels = [predictor.card.classes.index(str(label[one])) for one in scores.ids]
            made[f"{name}_labels"] = np.array(labels, np.float32)
    return made


def report(found: list[Arrays]) -> None:
    """AUROC and recall of each detector, group by group and on average."""
    for part in ("train", "known", "strange"):
        print(f"{part:8} photos of each group: {', '.join(str(len(one[f'{part}_logits'])) for one in found)}")
    right = [(softmax(one["known_logits"]).argmax(1) == one["known_labels"]).mean() for one in found]
    print(f"accuracy on the known: {', '.join(f'{share:.3f}' for share in right)}")
    print(f"{'':22}AUROC  {'of each group':{7 * len(found)}}  found where {REFUSED:.0%} of the known are refused")
    for name, detector in DETECTORS.items():
        areas, recalls = [], []
        for one in found:
            wide = {key: value.astype(np.float64) for key, value in one.items()}
            labels = one["train_labels"].astype(np.int64)
            reference = Known(wide["train_embeddings"], labels, wide["train_logits"])
            known = detector(reference, wide["known_embeddings"], wide["known_logits"])
            strange = detector(reference, wide["strange_embeddings"], wide["strange_logits"])
            areas.append(auroc(known, strange).value)
            recalls.append(float((strange > strangeness_bound(known, REFUSED)).mean()))
        each = "".join(f"{area:7.3f}" for area in areas)
        print(f"{name:22}{np.mean(areas):.3f}{each}  {np.mean(recalls):.3f}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CarspotterError as fault:
        sys.exit(str(fault))
