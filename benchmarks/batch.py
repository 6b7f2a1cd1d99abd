"""What a batch costs beyond the answers: Ray beside the local engine, and memory as the rows grow.

    python benchmarks/batch.py overhead models/cars photos.zip --rounds 5
    python benchmarks/batch.py growth models/cars --rows 1000 10000 100000

`overhead` answers the same photos by both engines in turn, each in a process of its own on the same cores, and prints
the whole command's seconds, and photos a second between the first part on disk and the last one: without the start of
interpreter, model and cluster. `growth` names a few tiny drawn photos again and again, and prints the peak memory of
the command, with `--ray` that of the one that hands the work out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from carspotter.data.archive import open_archive

TINY = (64, 48)
PHOTOS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the whole command: seconds, processor seconds (not of Ray's own processes), photos a second between its first
    part and its last, peak bytes."""

    seconds: float
    cpu: float
    sampler: float
    peak: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    both = tasks.add_parser("overhead")
    both.add_argument("model", type=Path)
    both.add_argument("zip", type=Path)
    both.add_argument("--rounds", type=int, default=5)
    both.add_argument("--times", type=int, default=4, help="how often each photo is named")
    both.add_argument("--chunk", type=int, default=50)
    grow = tasks.add_parser("growth")
    grow.add_argument("model", type=Path)
    grow.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    grow.add_argument("--ray", action="store_true", help="on Ray, started here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.task == "overhead":
            overhead(args, Path(folder))
        else:
            growth(args, Path(folder))


def overhead(args: argparse.Namespace, folder: Path) -> None:
    names = open_archive(args.zip).names
    rows = len(names) * args.times
    manifest = list_photos(folder, [f"{args.zip.absolute()}!{name}" for name in names], rows)
    engines: dict[str, list[str]] = {"local": [], "ray": ["--ray", "local"]}
    found: dict[str, list[Cost]] = {name: [] for name in engines}
    for turn in range(args.rounds):
        for name, words in engines.items():
            out = folder / f"{name}{turn}"
            found[name].append(run(args.model, manifest, out, args.chunk, words))
            print(f"{name} {turn + 1}: {found[name][-1].seconds:.1f} s", flush=True)
        same(folder / f"local{turn}", folder / f"ray{turn}")
    for name, costs in found.items():
        seconds, sampler = spread([cost.seconds for cost in costs]), spread([cost.sampler for cost in costs])
        print(f"{name:6} {rows:,} photos: {seconds} s, {sampler} photos/s")
    local, ray = found["local"], found["ray"]
    cpu = [cost.cpu / rows for cost in local]
    print(f"local, processor ms a photo with its start: {spread([1e3 * seconds for seconds in cpu])}")
    size = sum(path.stat().st_size for path in (folder / "local0").glob("part-*"))
    print(f"bytes a photo: {manifest.stat().st_size / rows:.0f} of the manifest, {size / rows:.0f} of the parts")
    print(f"ray/local, whole command: {spread([b.seconds / a.seconds for a, b in zip(local, ray, strict=True)], 2)}")
    print(f"ray/local, photos a second: {spread([b.sampler / a.sampler for a, b in zip(local, ray, strict=True)], 2)}")


def growth(args: argparse.Namespace, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for at in range(PHOTOS):
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        Image.fromarray(np.full((TINY[1], TINY[0], 3), colour)).save(folder / f"{at}.png")
    first: Cost | None = None
    for rows in args.rows:
        manifest = list_photos(folder, [f"{at}.png" for at in range(PHOTOS)], rows)
        cost = run(args.model, manifest, folder / str(rows), 1000, ["--ray", "local"] if args.ray else [])
        first = first or cost
        print(
            f"{rows:>9,} rows: {cost.seconds:7.1f} s, {cost.cpu:7.1f} processor s, {rows / cost.seconds:7,.0f} "
            f"photos/s, {cost.peak / 1e6:,.0f} MB ({cost.peak / first.peak:.2f} times that of {args.rows[0]:,})",
            flush=True,
        )


def list_photos(folder: Path, uris: Sequence[str], rows: int) -> Path:
    """A manifest that names places in turn; written in pieces, as long ones are."""
    path = folder / f"{rows}.parquet"
    schema = pyarrow.schema([("id", pyarrow.string()), ("uri", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            numbers = range(start, min(start + 100_000, rows))
            columns = {"id": [f"photo {at}" for at in numbers], "uri": [uris[at % len(uris)] for at in numbers]}
            writer.write_table(pyarrow.table(columns, schema=schema))
    return path


def run(model: Path, manifest: Path, out: Path, chunk: int, words: Sequence[str]) -> Cost:
    command = [sys.executable, "-m", "carspotter", "batch", str(model), str(manifest), "-o", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--chunk", str(chunk), *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) not in {0, 3}:
        raise SystemExit(f"{' '.join(command)} failed")
    made = sorted(path.stat().st_mtime for path in out.glob("part-*"))
    sampler = chunk * (len(made) - 1) / max(made[-1] - made[0], 1e-9) if len(made) > 1 else 0.0
    return Cost(seconds, usage.ru_utime + usage.ru_stime, sampler, usage.ru_maxrss * 1024)


def same(one: Path, other: Path) -> None:
    for path in one.glob("part-*"):
        if path.read_bytes() != (other / path.name).read_bytes():
            raise SystemExit(f"{path.name} differs between the engines")


def spread(values: Sequence[float], digits: int = 1) -> str:
    low, mid, high = np.quantile(values, (0, 0.5, 1))
    return f"{low:.{digits}f} / {mid:.{digits}f} / {high:.{digits}f}"


if __name__ == "__main__":
    main()
