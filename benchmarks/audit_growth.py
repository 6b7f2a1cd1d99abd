"""How time and memory of an audit's judging grow with the number of photos, on made embeddings; one thread.

    python benchmarks/audit_growth.py --photos 10000 30000 100000

Each size runs in a process of its own, so that memory is its own. The exponent is that of the time between two sizes:
2 would be a step that compares all with all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from math import log

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from carspotter.data.duplicates import candidates
from carspotter.evaluation.label_faults import blend, label_faults, out_of_fold, overlaps, vote
from carspotter.evaluation.near import find_near, outlier_scores

CLASSES = 50


def judge(photos: int, dimensions: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, photos)
    embeddings = rng.standard_normal((photos, dimensions), dtype=np.float32)
    embeddings += 2 + rng.standard_normal((CLASSES, dimensions), dtype=np.float32)[labels]
    hashes = rng.integers(0, 2**64, photos, dtype=np.uint64)
    spent: dict[str, float] = {}

    def timed(step: str, since: float) -> float:
        spent[step] = time.process_time() - since
        return time.process_time()

    at = time.process_time()
    near = find_near(embeddings)
    at = timed("neighbours", at)
    outlier_scores([near])
    at = timed("outliers", at)
    heads = out_of_fold([embeddings], labels, np.arange(photos) % 5, CLASSES)
    at = timed("heads", at)
    said = blend(heads, vote(near, labels, np.arange(photos), CLASSES))
    label_faults(said, labels)
    overlaps(said, labels)
    at = timed("labels", at)
    candidates(hashes, hashes)
    timed("copies", at)
    return spent | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(judge(args.one, args.dimensions)))
        return
    before: tuple[int, float] | None = None
    for photos in args.photos:
        words = [sys.executable, __file__, "--one", str(photos), "--dimensions", str(args.dimensions)]
        spent = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        memory = spent.pop("megabytes")
        total = sum(spent.values())
        growth = "" if before is None else f"  exponent {log(total / before[1]) / log(photos / before[0]):.2f}"
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in spent.items())
        print(f"{photos:>9,} photos: {total:7.1f} s of one core ({steps}), {memory:,.0f} MB{growth}", flush=True)
        before = photos, total


if __name__ == "__main__":
    main()
