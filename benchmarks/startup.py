"""How long `carspotter --help` takes beside `python -c pass`: both sides alternate in one run, in fresh processes.

    python benchmarks/startup.py [rounds]

The goal: under 1 second, or within 25 times the empty interpreter (the machine may be slow).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "import carspotter": (sys.executable, "-c", "import carspotter"),
    "carspotter --help": (sys.executable, "-m", "carspotter.apps.cli", "--help"),
}


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    empty = statistics.median(times["python -c pass"])
    print(f"{'':20}{'min':>8}{'median':>8}{'max':>8}  seconds, {rounds} rounds")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(
            f"{name:20}{min(taken):8.3f}{middle:8.3f}{max(taken):8.3f}  {middle / empty:5.1f} x the empty interpreter"
        )


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
