"""What a model says of cars that it was never taught, and of photos that show none.

    python benchmarks/strangers.py models/cars ../shared/data/contest \
        --strange ../shared/data/unknown/unknown.csv --kind Kind --strange ../shared/data/competition/photos30.zip

The photos that the model held out are the known ones. A model of every fold held out none; those of `--known` then need
no labels, but must show models that it was taught and have trained nothing. For every source of strangers, and every
kind of photo in it (its classes; `--kind` names the column of a table): the area under the curve of the detector that
the model carries, the share found at its own bound, and the verdicts. The run store is the one that trained the model
(CARSPOTTER_RUNS).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.data.source import read_source
from carspotter.errors import SourceError
from carspotter.evaluation.answer import answer
from carspotter.evaluation.shares import wilson
from carspotter.evaluation.unknown import auroc
from carspotter.inference.predictor import Predictor, load
from carspotter.inference.strangers import Strangers
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path, nargs="?", help="what trained the model; not needed with --known")
    parser.add_argument("--strange", type=Path, action="append", required=True)
    parser.add_argument("--known", type=Path, help="photos of models that it was taught; by default those held out")
    parser.add_argument("--kind", help="column of a table of strangers that tells their kinds")
    options = parser.parse_args()
    predictor = load(options.model)
    calibration = predictor.card.calibration
    if calibration is None or calibration.strange_at is None or predictor.reference is None:
        raise SystemExit(f"{options.model} knows no strangers; train it with more photos held out")
    if options.known:
        known = read_source(options.known)
    elif predictor.card.members > 1:
        raise SystemExit(f"every labelled photo trained some network of {options.model}; name others by --known")
    elif options.source is None:
        parser.error("name what trained the model, or known photos by --known")
    else:
        dataset = read_source(options.source)
        held_out = set(open_store().split(predictor.card.provenance.run_id).validation)
        known = dataset.subset([at for at, photo in enumerate(dataset.photos) if photo.id in held_out])
    print(f"detector {calibration.detector}, of known photos at most {calibration.refused:.0%} refused")
    usual = look(predictor, known, "known")
    for place in options.strange:
        strange = read_kinds(place, options.kind)
        print(f"\n{place.name}: {len(strange.photos)} photos")
        for kind in (*strange.classes, None) if len(strange.classes) > 1 else (None,):
            some = [at for at, photo in enumerate(strange.photos) if kind in (None, photo.label)]
            far = look(predictor, strange.subset(some), kind or "all")
            area = auroc(usual, far)
            print(f"  area {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]")


def read_kinds(place: Path, column: str | None) -> Dataset:
    if place.suffix == ".csv" and column:
        return read_source(place, label_column=column)
    try:
        return read_source(place)
    except SourceError as fault:
        raise SystemExit(str(fault)) from None


def look(predictor: Predictor, photos: Dataset, name: str) -> npt.NDArray[np.float64]:
    """Print what the model says, and give how strange each photo is."""
    scores, calibration, reference = predictor.scores(photos), predictor.card.calibration, predictor.reference
    if calibration is None or reference is None:
        raise ValueError("asked before whether it knows strangers")
    far = Strangers(reference).strangeness(scores)
    strangers = predictor.strangers(photos, scores)
    told = answer(scores, predictor.card.classes, calibration, scores.ids, strangers)
    verdicts = Counter(one.verdict.value for one in told)
    found = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    print(f"{name:20} strangers {wilson(len(strangers), len(scores.ids))}: {found}", flush=True)
    return far


if __name__ == "__main__":
    main()
