"""Fuzz every target, two at a time, and say how it went.

python tests/fuzz/all.py [--minutes 60] [--keep FOLDER] [--corpus FOLDER]

Each minute is shared evenly; the whole takes so long. Ends with 77 where a promise was broken. With a corpus, each
target goes on from what it found there, in a folder of its name, and leaves what it finds for the next time.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = ("photo", "zip", "table", "recipe", "card", "onnx")
EXIT_FOUND = 77
SPARE = 600
"""Seconds on top, for starting and for a last slow input (assumption: a busy machine)."""


def run(target: str, seconds: int, keep: Path, log: Path, seed: int = 0, corpus: Path | None = None) -> int:
    """One target, its words in a file; the exit code. Seed 0 is another one each time."""
    path = os.pathsep.join([*map(str, (HERE, HERE.parent)), *sys.path])
    words = [sys.executable, HERE / "fuzz.py", target, "--seconds", str(seconds), "--seed", str(seed), "--keep", keep]
    words += ["--corpus", corpus / target] if corpus else []
    with log.open("wb") as said:
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            words, stdout=said, stderr=subprocess.STDOUT, env=environment, check=False, timeout=seconds + SPARE
        )
    return done.returncode


def figures(said: str) -> str:
    """What a run says of itself: inputs, inputs a second, megabytes, and code reached where that is measured."""
    found = dict(re.findall(r"stat::(\w+):\s*(\d+)", said))
    if not found:
        return "it ended before its first figures"
    reached = re.findall(r"cov: (\d+)", said)
    return (
        f"{int(found['number_of_executed_units']):,} inputs, {found['average_exec_per_sec']} a second, "
        f"{found['peak_rss_mb']} MB, {f'{reached[-1]} branches reached' if reached else 'code reached: not measured'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--side-by-side", type=int, default=2)
    asked = parser.parse_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(asked.minutes * 60 * asked.side_by_side / len(TARGETS)))

    def one(target: str) -> int:
        log = asked.keep / f"{target}.log"
        code = run(target, seconds, asked.keep, log, corpus=asked.corpus)
        said = log.read_text(encoding="utf-8", errors="replace")
        sys.stdout.write(f"{target:<8}{'sound' if code == 0 else f'BROKEN, see {log}':<10}{figures(said)}\n")
        sys.stdout.flush()
        return code

    with ThreadPoolExecutor(asked.side_by_side) as threads:
        codes = list(threads.map(one, TARGETS))
    return EXIT_FOUND if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
