"""How far answers can be trusted, on photos that did not train the network that gave them.

    python benchmarks/calibrated.py models/best
    python benchmarks/calibrated.py models/best --views 10 ../shared/data/contest
    python benchmarks/calibrated.py --run 1a2b3c4d

Each photo is answered by what it did not train (one network, or the mean of one of each division), and calibrated by a
fit on the other folds; of a run or a model of one network, the held-out photos are dealt into parts that take the place
of folds. Printed: the debiased calibration error with its interval and the test that asks whether it is one; how often
prediction sets hold the truth, and how large they are; what refusing the least sure fifth removes; and what the
verdicts would be.
With `--views` the photos are asked about anew, as `predict --tta` does, and SOURCE is what trained the model.
The run store is the one that trained the model (CARSPOTTER_RUNS).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from joined import answers, only

from carspotter.data.source import read_source
from carspotter.evaluation.answer import answer
from carspotter.evaluation.calibration import ERROR, calibrate, cross_fitted, parts_of
from carspotter.evaluation.metrics import softmax
from carspotter.evaluation.reliability import calibration_error, calibration_p, errors_removed
from carspotter.evaluation.shares import share
from carspotter.inference.bundle import read_bundle
from carspotter.inference.predictor import load
from carspotter.records import Calibration, HeldOut, Scores, Verdict
from carspotter.tracking.held_out import groups_of
from carspotter.tracking.out_of_fold import mean_answers
from carspotter.tracking.runs import open_store
from carspotter.training.beginning import bundle_place

REFUSED = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("source", type=Path, nargs="?", help="needed by --views alone")
    parser.add_argument("--run", help="id of a run, whose model need not be there")
    parser.add_argument("--views", type=int, default=1)
    options = parser.parse_args()
    store = open_store()
    if options.run:
        runs = [store.get(options.run)]
    elif options.model:
        origin = read_bundle(options.model).card.provenance
        runs = [store.get(run) for run in (origin.run_id, *origin.also)]
    else:
        parser.error("name a model or a run")
    classes = runs[0].classes
    kept = held_out = [store.answers(run.id) for run in runs]
    if options.views > 1:
        dataset = read_source(options.source)
        held_out = [
            answers(load(bundle_place(run)), only(dataset, store.split(run.id).validation), options.views)
            for run in runs
        ]
    scores, folds = mean_answers(held_out)
    labels = scores.labels
    if len(runs) == 1:
        folds = parts_of(np.random.default_rng(0).permutation(len(labels)))
    rows = np.arange(len(labels))
    probabilities, sets = cross_fitted(scores.logits, labels, folds, ERROR)
    right, confidence = probabilities.argmax(1) == labels, probabilities.max(1)
    plain = softmax(scores.logits.astype(np.float64))
    groups = groups_of(scores.ids, kept)
    print(f"accuracy {share(right, groups)}, in {len(np.unique(groups))} groups")
    print(f"calibration error, as it is     {calibration_error(plain.max(1), right, groups=groups)}")
    found, p = (tell(confidence, right, groups=groups) for tell in (calibration_error, calibration_p))
    print(f"calibration error, calibrated   {found}, p {p:.3f}")
    held, size = sets[rows, labels], sets.sum(1).mean()
    print(f"sets hold the truth             {share(held, groups)}; {size:.2f} models on average")
    errors = 1 - right.mean()
    most = min(1.0, REFUSED / errors)
    removed = errors_removed(confidence, right, REFUSED, groups)
    print(f"errors removed by refusing {REFUSED:.0%}  {removed} of at most {most:.3f}")
    told = [
        (fold, calibrate(scores.logits[folds != fold], labels[folds != fold], folds[folds != fold]))
        for fold in np.unique(folds)
    ]
    verdicts(scores, folds, classes, told, groups)


def verdicts(
    scores: HeldOut,
    folds: np.ndarray,
    classes: tuple[str, ...],
    told: list[tuple[int, Calibration | None]],
    groups: np.ndarray,
) -> None:
    """What would be said, each photo by a calibration that had not seen its fold."""
    found: dict[Verdict, list[tuple[bool, int]]] = {}
    for fold, calibration in told:
        at = np.flatnonzero(folds == fold)
        ids = tuple(scores.ids[i] for i in at)
        some = Scores(ids, scores.logits[at], np.zeros((len(at), 0), np.float32))
        for one, label, group in zip(
            answer(some, classes, calibration, ids), scores.labels[at], groups[at], strict=True
        ):
            found.setdefault(one.verdict, []).append((classes[label] in one.claim, group))
    for verdict, told_of in found.items():
        hits, whose = zip(*told_of, strict=True)
        held = f", claim holds {share(hits, whose)}" if verdict is not Verdict.UNSURE else ""
        print(f"{verdict.value:8} {len(hits):4} photos{held}")


if __name__ == "__main__":
    main()
