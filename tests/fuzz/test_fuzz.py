"""Two minutes of fuzzing by one seed, so that changes meet the same inputs; and every input that ever broke a promise.

`make fuzz MINUTES=60` runs longer. What it finds lies in fuzz-found/: mend the fault, then put the input below `kept/`,
in the folder of its target, with a name that says what was wrong.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.fuzz.all import TARGETS, figures, run
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import SHARED

from helpers.absent import absent

HERE = Path(__file__).parent
SECONDS = 20
"""For each target: two minutes for all."""
SEED = 1
KEPT = sorted(path for path in (HERE / "kept").rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_promise_is_broken(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    code = run(target, SECONDS, tmp_path / "found", log, seed=SEED)
    said = log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, f"{said[-5_000:]}\nkept: {kept(tmp_path / 'found')}"
    tried = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    assert tried is not None, said[-5_000:]
    monkeypatch.syspath_prepend(HERE)
    import targets

    assert int(tried[1]) > len(list(targets.TARGETS[target].seeds())), "nothing but the seeds was tried"
    with capsys.disabled():
        sys.stdout.write(f"\nfuzz {target}: {figures(said)}\n")


def kept(folder: Path) -> list[tuple[str, str]]:
    """Inputs that broke a promise, short enough to be taken from a log."""
    return [(path.name, path.read_bytes()[:2_000].hex()) for path in folder.iterdir()]


def test_fuzzing_begins_from_the_known_bad_photos() -> None:
    if not (SHARED / "bad_photos").is_dir():
        absent(f"no bad photos at {SHARED}; set CARSPOTTER_SHARED to their folder", "CARSPOTTER_REQUIRE_REAL")


def test_fuzzing_is_guided_by_what_is_reached() -> None:
    if find_spec("atheris") is None:
        absent("no atheris, so chance alone chooses; pip install --group dev", "CARSPOTTER_REQUIRE_SERVERS")


LATE = """
import sys, fuzz
targets = fuzz.import_all()
before = set(sys.modules)
for target in targets.values():
    for data in target.seeds():
        target.check(data)
print(*sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in fuzz.INSTRUMENTED))
"""


@pytest.mark.slow
def test_what_is_to_be_instrumented_is_imported_for_that() -> None:
    """What a reader imports when it is first used comes too late."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_inputs_of_a_corpus_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    import targets

    from fuzz import EXIT_FOUND, plain

    def broken(data: bytes) -> None:
        assert data != b"what an earlier run has found"

    monkeypatch.setitem(targets.TARGETS, "planted", targets.Target(broken, lambda: iter([b"abc"])))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "found").write_bytes(b"what an earlier run has found")
    (tmp_path / "keep").mkdir()
    asked = Namespace(target="planted", seconds=60, keep=tmp_path / "keep", corpus=tmp_path / "corpus", seed=1)
    assert plain(asked) == EXIT_FOUND


def test_a_broken_promise_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without atheris, whose part this is otherwise."""
    monkeypatch.syspath_prepend(HERE)
    import targets

    from fuzz import EXIT_FOUND, plain

    def broken(data: bytes) -> None:
        assert b"8" not in data

    monkeypatch.setitem(targets.TARGETS, "planted", targets.Target(broken, lambda: iter([b"1234567", b"abc"]), (b"8",)))
    asked = Namespace(target="planted", seconds=60, keep=tmp_path, corpus=None, seed=1)
    assert plain(asked) == EXIT_FOUND
    (found,) = tmp_path.iterdir()
    assert found.name.startswith("planted-crash-")
    assert b"8" in found.read_bytes()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_broke_a_promise_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    import targets

    targets.TARGETS[path.parent.name].check(path.read_bytes())


def test_every_target_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    import targets

    assert set(TARGETS) == set(targets.TARGETS)


def test_mutations_repeat_themselves_and_change_something() -> None:
    pool = [b"PK\3\4 some bytes", b"other bytes", b""]

    def mutated(seed: int) -> bytes:
        return mutate(pool[0], random.Random(seed), pool, (b"word",))  # noqa: S311

    ours = [mutated(seed) for seed in range(100)]
    assert ours == [mutated(seed) for seed in range(100)]
    assert len(set(ours)) > 70
