"""What a recipe reaches and costs on a contest, beside its first stage alone, on the same validation photos.

    python benchmarks/contest.py ../shared/data/contest [recipe] [KEY=VALUE ...]

Each side is a process of its own with an empty cache: minutes, peak memory, accuracy with its interval.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carspotter.recipe import load_recipe
from carspotter.records import Run

DRAWN = Path("demo")  # `make demo` draws it


def measure(name: str, source: Path, recipe: str, settings: list[str]) -> str:
    """One row: train, and read the figures of the run and of the process."""
    program = str(Path(sys.executable).with_name("carspotter"))
    with tempfile.TemporaryDirectory() as place:
        env = os.environ | {"CARSPOTTER_CACHE": f"{place}/cache", "CARSPOTTER_RUNS": f"sqlite:///{place}/runs.db"}
        words = [program, "train", str(source), "--recipe", recipe, "-o", f"{place}/model"]
        words += [word for setting in settings for word in ("--set", setting)]
        started = time.perf_counter()
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status) not in (0, 3):
            raise SystemExit(f"{' '.join(words)} failed")
        shown = [program, "runs", "ls"]
        run_id = (
            subprocess.run(shown, env=env, capture_output=True, text=True, check=True).stdout.split("\n")[1].split()[0]
        )
        show = [program, "runs", "show", run_id, "--json"]
        run = Run.model_validate(json.loads(subprocess.run(show, env=env, capture_output=True, check=True).stdout))
    accuracy = run.evaluation.accuracy if run.evaluation else "none"
    return f"{name:22} {seconds / 60:5.1f} min  {usage.ru_maxrss / 1e6:4.1f} GB  {accuracy}"


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else DRAWN
    if not source.exists():
        raise SystemExit(f"{source} is not there; name a source of labelled photos, or run `make demo` first")
    recipe = sys.argv[2] if len(sys.argv) > 2 else "fast"
    settings = sys.argv[3:]
    stages = load_recipe(recipe).stage
    first_only = [f"stage.{number}.epochs=0" for number in range(1, len(stages))]
    print(measure(f"{recipe}, {stages[0].name} alone", source, recipe, [*settings, *first_only]), flush=True)
    print(measure(recipe, source, recipe, settings))


if __name__ == "__main__":
    main()
