"""What the decoder makes of a folder of broken, hostile and odd pictures, and what the worst of them costs.

    python benchmarks/bad_photos.py FOLDER [--json]

Each file is decoded in a process of its own, so that memory is measured per file (peak resident memory above what the
process had before) and a crash would be seen. `--json` prints one line per file.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from carspotter.data.photo import decode, read_bytes
from carspotter.errors import PhotoRefused
from carspotter.records import Location


def main(folder: Path, as_json: bool) -> int:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "MANIFEST.csv")
    rows = [{"file": path.relative_to(folder).as_posix()} | measure(path) for path in paths]
    if as_json:
        print("\n".join(json.dumps(row) for row in rows))
    else:
        report(rows)
    return int(any(row["outcome"].startswith("escaped") or row["warnings"] for row in rows))


def measure(path: Path) -> dict[str, Any]:
    """Outcome, seconds, extra MB and warnings of one file."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=look, args=(str(path), theirs))
    child.start()
    theirs.close()
    try:
        row: dict[str, Any] = ours.recv()
    except EOFError:
        child.join()
        row = {
            "outcome": f"escaped: process ended with {child.exitcode}",
            "seconds": 0.0,
            "megabytes": 0.0,
            "warnings": [],
        }
    child.join()
    return row


def look(path: str, pipe: Connection) -> None:
    before, start = peak(), time.perf_counter()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            outcome = f"answered {decode(read_bytes(Location(path))).format}"
        except PhotoRefused as refused:
            outcome = f"refused {refused.reason}"
        except BaseException as fault:  # noqa: BLE001 - the very thing to be found
            outcome = f"escaped: {type(fault).__name__}"
    pipe.send(
        {
            "outcome": outcome,
            "seconds": time.perf_counter() - start,
            "megabytes": peak() - before,
            "warnings": [str(warning.message) for warning in seen],
        }
    )


def peak() -> float:
    """Highest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(rows: list[dict[str, Any]]) -> None:
    for outcome, count in sorted(Counter(row["outcome"] for row in rows).items()):
        print(f"{count:5d}  {outcome}")
    print(f"{len(rows):5d}  files, {sum(len(row['warnings']) for row in rows)} warnings")
    for what, unit in (("seconds", "s"), ("megabytes", "MB")):
        worst = max(rows, key=lambda row: row[what])
        print(f"worst {what}: {worst[what]:.2f} {unit}, {worst['file']}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--json" in sys.argv[2:]))
