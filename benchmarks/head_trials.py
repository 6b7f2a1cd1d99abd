"""How long as many head trials take as the seed's log has rows: the seed's own axes, from stored features.

    python benchmarks/head_trials.py [../shared/data/contest] [trials] [KEY=VALUE ...]

One process with an empty cache and a store of its own: minutes, trials per minute, how many trials read stored features
only, and what a trial takes with and without them. The target is 56 trials in less than 30 minutes on two cores.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from carspotter.data.source import read_source
from carspotter.training.space import load_space
from carspotter.training.study import Tried
from carspotter.training.sweep import Plan, Sweep, sweep

CONTEST = Path("../shared/data/contest")
ROWS = 56  # of the seed's log


def measure(source: Path, trials: int, settings: list[str]) -> Sweep:
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"CARSPOTTER_CACHE": f"{place}/cache", "CARSPOTTER_RUNS": f"sqlite:///{place}/runs.db"}
        return sweep(read_source(source), load_space("seed", settings=settings), Plan(trials), progress=show)


def show(phase: str, done: int, total: int, said: str = "") -> None:
    if said:
        print(f"  {phase} {done}/{total}: {said}", file=sys.stderr, flush=True)


def seconds(trials: list[Tried]) -> str:
    times = [trial.facts["seconds"] for trial in trials]
    return f"{statistics.median(times):6.1f} s (median of {len(times)})" if times else "none"


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else CONTEST
    if not source.exists():
        raise SystemExit(f"{source} is not there; name a source of labelled photos")
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    started = time.perf_counter()
    found = measure(source, trials, sys.argv[3:])
    minutes = (time.perf_counter() - started) / 60
    timed = [trial for trial in found.tried if "seconds" in trial.facts]
    print(f"{len(found.session)} trials in {minutes:.1f} min, {len(found.session) / minutes:.1f} a minute")
    print(f"{found.count('finished')} finished, {found.count('pruned')} pruned, {found.count('failed')} failed")
    print(f"{found.stored} read stored features only: {seconds([t for t in timed if t.facts['stored']])}")
    print(f"others computed features:  {seconds([t for t in timed if not t.facts['stored']])}")
    facts = found.best.facts
    print(f"best: log loss {facts['log_loss']:.3f}, accuracy {facts['accuracy']:.3f} on {facts['photos']} photos")


if __name__ == "__main__":
    main()
