"""Throw mutated inputs at a target until one breaks a promise, or time is up.

    python tests/fuzz/fuzz.py TARGET [--seconds 60] [--keep FOLDER] [--corpus FOLDER] [--plain]

With atheris (Linux, Python 3.11 to 3.13) libFuzzer chooses inputs by the lines of ours that they reach, mutated half by
itself and half by `mutations.py`; without it, or with --plain, by `mutations.py` alone. A broken promise ends it with
its traceback and leaves the input in FOLDER, named by its kind and hash; so does an input that takes too long or too
much memory. Inputs of a corpus are tried like the seeds; libFuzzer adds to it what reached something new, for the next
run.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

SECONDS = 60
"""For one input, at most. Assumption: a photo of 50 Mpx takes 3 s on a quiet core, and a machine may be busy."""
MEGABYTES = 2_048
"""Of the process, at most: libraries take 300, the worst photo 800 (benchmarks/bad_photos.py)."""
LONGEST = 128 * 2**10
"""Bytes of an input."""
INSTRUMENTED = ("carspotter", "tomllib", "openpyxl")
EXIT_FOUND = 77
"""As libFuzzer has it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--corpus", type=Path, help="a folder of inputs; it need not exist")
    parser.add_argument("--seed", type=int, default=0, help="of chance; 0: another one each time")
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    for folder in filter(None, (asked.keep, asked.corpus)):
        folder.mkdir(parents=True, exist_ok=True)
    if asked.plain or find_spec("atheris") is None:
        return plain(asked)
    guided(asked)
    return 0


# ---- by what is reached ---------------------------------------------------------------------------------------------


def import_all() -> Any:
    """Everything of `INSTRUMENTED` that a target reaches, and the targets; what comes later is not instrumented."""
    import openpyxl.packaging.extended
    import openpyxl.reader.excel  # noqa: F401
    from targets import TARGETS

    return TARGETS


def guided(asked: argparse.Namespace) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        targets = import_all()
    from mutations import mutate

    target = targets[asked.target]
    pool = list(target.seeds())

    def another(data: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        return mutate(data, rng, pool, target.words)[:longest]

    with tempfile.TemporaryDirectory(prefix="carspotter-corpus-") as seeds:
        for at, data in enumerate(pool):
            (Path(seeds) / f"{at:04d}").write_bytes(data)
        folders = [str(folder) for folder in (asked.corpus, seeds) if folder]  # libFuzzer writes into the first one
        atheris.Setup([sys.argv[0], *options(asked), *folders], target.check, custom_mutator=another)
        atheris.Fuzz()


def options(asked: argparse.Namespace) -> list[str]:
    return [
        f"-max_total_time={asked.seconds}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-max_len={LONGEST}",
        f"-seed={asked.seed}",
        f"-artifact_prefix={asked.keep}/{asked.target}-",
        "-len_control=0",
        "-print_final_stats=1",
        "-reload=0",
    ]


# ---- by chance alone ------------------------------------------------------------------------------------------------


def plain(asked: argparse.Namespace) -> int:
    from mutations import mutate
    from targets import TARGETS

    target = TARGETS[asked.target]
    pool = [*target.seeds(), *(path.read_bytes() for path in sorted(asked.corpus.iterdir() if asked.corpus else ()))]
    rng = random.Random(asked.seed or time.time_ns())  # noqa: S311
    signal.signal(signal.SIGALRM, too_slow)
    began, done = time.monotonic(), 0
    inputs = iter(pool)
    while time.monotonic() < began + asked.seconds:
        data = next(inputs, None) or mutate(rng.choice(pool), rng, pool, target.words)[:LONGEST]
        if fault := broken(target.check, data):
            kept = asked.keep / f"{asked.target}-{fault}-{hashlib.sha256(data).hexdigest()[:16]}"
            kept.write_bytes(data)
            say(f"{fault}, kept as {kept}")
            return EXIT_FOUND
        done += 1
    seconds = time.monotonic() - began
    say(f"stat::number_of_executed_units: {done}")
    say(f"stat::average_exec_per_sec: {done / seconds:.0f}")
    say(f"stat::peak_rss_mb: {megabytes():.0f}")
    return 0


def say(line: str) -> None:
    """As libFuzzer does, on stderr."""
    sys.stderr.write(f"{line}\n")


def too_slow(*_: Any) -> None:
    raise TimeoutError(f"an input took longer than {SECONDS} s")


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def broken(check: Any, data: bytes) -> str | None:
    """The kind of promise that this input breaks; its traceback is shown."""
    import traceback

    signal.alarm(SECONDS)
    try:
        check(data)
        return "oom" if megabytes() > MEGABYTES else None
    except TimeoutError:
        traceback.print_exc()
        return "timeout"
    except BaseException:  # noqa: BLE001 - the very thing that is looked for
        traceback.print_exc()
        return "crash"
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
