"""What the training benchmarks share: sides trained fold by fold, each in a process of its own, and what they cost.

    python benchmarks/common.py < JOB.json        # one training, as the other scripts start it

A folder keeps everything: the run store, a log per training, and `ledger.jsonl`, one line per finished training. A
training whose recipe, source and outside photos stand there is never done twice, so a benchmark that was stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from carspotter.data.source import read_source
from carspotter.data.wording import some
from carspotter.errors import CarspotterError
from carspotter.recipe import Recipe, load_recipe, validate_recipe
from carspotter.records import HeldOut, Run, hash_json
from carspotter.tracking.runs import RunStore, open_store
from carspotter.workers import usable_cores

OUTSIDE = ("extra", "unlabelled", "teacher")
"""No settings of the recipe: `--set LABEL:extra=SOURCE` lets outside photos train that side too, as `train --extra`."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared: a label, a recipe, and outside photos that train it too, each as `extra=SOURCE`."""

    label: str
    recipe: Recipe
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled photos by their path, and what tells them from others."""

    path: Path
    identity: str
    photos: int

    @property
    def title(self) -> str:
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Job:
    """One training: a side with its fold and seed filled in, on a source."""

    side: Side
    source: Source

    @property
    def recipe(self) -> Recipe:
        return self.side.recipe

    def __str__(self) -> str:
        return f"{self.source.title} {self.side.label} fold {self.recipe.split.fold} seed {self.recipe.seed}"


@dataclass(frozen=True, slots=True)
class Done:
    """A finished training: its run, and wall seconds, processor seconds and peak bytes of its process."""

    job: Job
    run: Run
    seconds: float
    cpu: float
    peak: int
    features: int


# ---- what is to be trained ------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, *, store: str, folds: int) -> None:
    """The options of every benchmark that trains folds."""
    parser.add_argument("source", type=Path)
    parser.add_argument("--folds", type=int, default=folds, help="how many the photos are divided into")
    parser.add_argument("--fold", default="", help="only these, as in 0,2; default: all")
    parser.add_argument("--seeds", default="1", help="of weights, order and views, as in 1,2,3")
    parser.add_argument("--split-seed", type=int, default=0, help="of the folds alone")
    parser.add_argument("--store", type=Path, default=Path(store), help="folder of runs, logs and costs")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing that would end later")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, each with its share of the cores")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def read_side(label: str, recipe: str, settings: Sequence[str]) -> Side:
    """A recipe under a label, with settings; those in `OUTSIDE` name other sources."""
    outside = tuple(setting for setting in settings if setting.partition("=")[0] in OUTSIDE)
    chosen = load_recipe(recipe, [setting for setting in settings if setting not in outside])
    return Side(label, chosen.model_copy(update={"name": label}), outside)


def open_source(path: Path) -> Source:
    dataset = read_source(path)
    rows = sorted((photo.id, photo.label or "") for photo in dataset.photos)
    return Source(path, hash_json(rows), len(dataset.photos))


def plan(sides: Sequence[Side], source: Source, options: argparse.Namespace) -> list[Job]:
    """Every side on every fold and seed, folds first; the order of the sides turns round each time."""
    threads = max(1, usable_cores() // options.jobs)
    jobs: list[Job] = []
    for seed in numbers(options.seeds):
        for fold in numbers(options.fold) or range(options.folds):
            split = {"method": "folds", "folds": options.folds, "fold": fold, "seed": options.split_seed}
            fixed = {"seed": seed, "threads": threads}
            here = [_fixed(side, fixed, split) for side in sides]
            turned = len(jobs) // len(sides) % 2
            jobs += [Job(side, source) for side in (reversed(here) if turned else here)]
    return jobs


def _fixed(side: Side, fields: dict[str, Any], split: dict[str, Any]) -> Side:
    tree = side.recipe.model_dump(mode="json")
    tree |= fields | {"split": tree["split"] | split}
    return Side(side.label, validate_recipe(tree, side.label), side.outside)


# ---- what was trained -----------------------------------------------------------------------------------------------


class Ledger:
    """Finished trainings of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._path = self.folder / "ledger.jsonl"
        self._lock = Lock()

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/runs.db"

    @property
    def store(self) -> RunStore:
        return open_store(self.uri)

    def note(self, line: dict[str, Any]) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def done(self, jobs: Sequence[Job]) -> list[Done]:
        """Those that are finished, in the order of the jobs; recipes are compared, not their text."""
        lines = self.lines()
        runs = {run.id: run for run in self.store.list() if run.status == "finished"} if lines else {}
        found = []
        for job in jobs:
            line = next((line for line in lines if line["run"] in runs and _same(line, runs[line["run"]], job)), None)
            if line:
                costs = {name: line[name] for name in ("seconds", "cpu", "peak", "features")}
                found.append(Done(job, runs[line["run"]], **costs))
        return found

    def answers(self, done: Sequence[Done]) -> list[HeldOut]:
        """Held-out answers of finished trainings, same order."""
        kept, damaged = self.store.kept_answers([one.run for one in done])
        if damaged:
            raise SystemExit("\n".join(damaged))
        return [kept[one.run.id] for one in done]


def _same(line: dict[str, Any], run: Run, job: Job) -> bool:
    same_photos = line["source"] == job.source.identity and tuple(line["outside"]) == job.side.outside
    return same_photos and run.recipe == job.recipe


# ---- training -------------------------------------------------------------------------------------------------------


def train_all(jobs: Sequence[Job], ledger: Ledger, *, minutes: float, side_by_side: int, cache: Path | None) -> int:
    """Train what is not finished, as far as the time goes; how many trainings failed.

    Args:
        jobs: in the wanted order.
        ledger: of finished ones, which are said and left alone.
        minutes: nothing is started that would end later, as far as finished trainings of its side tell.
        side_by_side: trainings at once.
        cache: of decoded photos and frozen features, shared; None: empty at the start of each training.
    """
    finished = ledger.done(jobs)
    for one in finished:
        print(f"{one.job}: finished before, {one.seconds / 60:.1f} min, {accuracy_of(one.run)}", flush=True)
    known = {id(one.job) for one in finished}
    queue = Queue([job for job in jobs if id(job) not in known], time.monotonic() + 60 * minutes, finished)
    children = Children()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def work() -> int:
        failed = 0
        while (job := queue.take()) is not None:
            done = children.train(job, ledger, cache)
            failed += done is None
            if done:
                queue.finished.append(done)
        return failed

    with ThreadPoolExecutor(side_by_side) as pool:
        try:
            failed = sum(future.result() for future in [pool.submit(work) for _ in range(side_by_side)])
        finally:
            queue.close()
            children.stop()
    if queue.left:
        print(f"{len(queue.left)} trainings left for another time: {some([str(job) for job in queue.left])}")
    return failed


class Queue:
    """Jobs, handed out while there is time for them."""

    def __init__(self, jobs: list[Job], deadline: float, finished: list[Done]) -> None:
        self.left = jobs
        self.finished = finished
        self._deadline = deadline
        self._lock = Lock()
        self._closed = False

    def take(self) -> Job | None:
        """The first job that fits into the time, or None."""
        with self._lock:
            job = next((job for job in self.left if self._fits(job)), None)
            if job is None or self._closed:
                return None
            self.left.remove(job)
            return job

    def close(self) -> None:
        self._closed = True

    def _fits(self, job: Job) -> bool:
        """By the longest finished training of its side; an unknown side is tried while there is any time."""
        like = [one for one in self.finished if one.job.side.label == job.side.label and one.job.source == job.source]
        return time.monotonic() + max((one.seconds for one in like), default=0.0) < self._deadline


class Children:
    """Processes that train, each alone with its memory."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[str]] = set()

    def train(self, job: Job, ledger: Ledger, cache: Path | None) -> Done | None:
        """One training to its end; None, with the reason printed, where it fails."""
        log = ledger.folder / "logs" / f"{job}.log".replace(" ", "-")
        env = os.environ | {"OMP_NUM_THREADS": str(job.recipe.threads)}
        words = [sys.executable, __file__]
        with log.open("w", encoding="utf-8") as errors:
            child = subprocess.Popen(
                words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            self._alive.add(child)
            out, _ = child.communicate(_order(job, ledger, cache))
            self._alive.discard(child)
        if child.returncode:
            last = (log.read_text(encoding="utf-8").strip().splitlines() or ["nothing said"])[-1]
            print(f"{job}: FAILED with {child.returncode}: {last}", flush=True)
            return None
        line = json.loads(out.splitlines()[-1])
        ledger.note(line | {"side": job.side.label, "source": job.source.identity, "outside": job.side.outside})
        run = ledger.store.get(line.pop("run"))
        print(f"{job}: {line['seconds'] / 60:.1f} min, {line['cpu'] / 60:.1f} CPU, {accuracy_of(run)}", flush=True)
        return Done(job, run, **line)

    def stop(self) -> None:
        for child in list(self._alive):
            child.terminate()


def accuracy_of(run: Run) -> str:
    return f"accuracy {run.accuracy}" if run.accuracy else "no accuracy"


def _order(job: Job, ledger: Ledger, cache: Path | None) -> str:
    """What the child reads."""
    return json.dumps(
        {
            "recipe": job.recipe.model_dump(mode="json"),
            "source": str(job.source.path),
            "outside": job.side.outside,
            "store": ledger.uri,
            "cache": None if cache is None else str(cache),
        }
    )


def train_one(order: dict[str, Any]) -> dict[str, Any]:
    """One training in this process; what it cost, from reading the source to the last answer, imports left out."""
    from carspotter.apps.training import read_outside
    from carspotter.data.cache import PhotoCache
    from carspotter.training.job import Job
    from carspotter.training.train import train

    def say(phase: str, done: int, total: int, said: str = "") -> None:
        if said:
            print(f"{phase} {done}/{total}: {said}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as own:
        place = Path(order["cache"] or own)
        started, before = time.perf_counter(), cpu_seconds()
        outside = read_outside(Path(order["source"]), *others_of(order["outside"]))
        run = train(
            read_source(order["source"]),
            validate_recipe(order["recipe"], "the job"),
            job=Job(outside, deliver=False),
            store=open_store(order["store"]),
            cache=PhotoCache(place),
            progress=say,
        )
        features = sum(path.stat().st_size for path in (place / "features").glob("*"))
    return {
        "run": run.id,
        "seconds": time.perf_counter() - started,
        "cpu": cpu_seconds() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "features": features,
    }


def others_of(words: Sequence[str]) -> tuple[list[Path], list[Path], Path | None]:
    """Labelled sources, unlabelled ones, and the net that names these."""
    named = [(word.partition("=")[0], Path(word.partition("=")[2])) for word in words]
    extra, unlabelled, teachers = ([path for kind, path in named if kind == wanted] for wanted in OUTSIDE)
    return extra, unlabelled, teachers[-1] if teachers else None


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def spread(values: Iterable[float], show: Callable[[float], str] = "{:.1f}".format) -> str:
    """`min / median / max`."""
    ordered = sorted(values)
    return " / ".join(show(value) for value in (ordered[0], median(ordered), ordered[-1])) if ordered else "none"


def median(values: Sequence[float]) -> float:
    middle = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
    return sum(middle) / len(middle)


if __name__ == "__main__":
    try:
        print(json.dumps(train_one(json.load(sys.stdin))))
    except CarspotterError as fault:
        sys.exit(str(fault))
