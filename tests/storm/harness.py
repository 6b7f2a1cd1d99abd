"""The test's side of a storm: processes to be harmed, system calls that fail, disks that are full or cut off."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import pytest

TESTS = Path(__file__).resolve().parents[1]
DRIVER = Path(__file__).with_name("driver.py")
PATIENCE = 600.0
"""Seconds after which a process is taken to hang (assumption: a busy machine)."""


class Driver:
    """A process that forks others, which a storm may harm; see `driver.py`. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.said = folder / "said"
        self.steps = folder / "steps"  # as driver.py names it

    def __enter__(self) -> Driver:
        path = os.pathsep.join([str(TESTS), *sys.path])  # as pytest has it
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def begin(self, do: str, *words: object) -> Child:
        """A process at work on an order; it must be waited for before the next one."""
        self.said.write_bytes(b"")
        order = {"do": do, "words": [str(word) for word in words], "said": str(self.said)}
        return Child(self, int(self.ask(json.dumps(order))))

    def ask(self, line: str) -> str:
        """Say a line, hear a line; a driver that hangs is ended, and with it the test."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(PATIENCE, self._process.kill)
        guard.start()
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
            heard = self._process.stdout.readline()
            return heard or pytest.fail(f"the driver has ended, or hung; it had said: {self.said.read_text()[-4000:]}")
        finally:
            guard.cancel()


class Child:
    """A process of a driver. It stays a zombie until it is waited for, so its number is nobody else's."""

    def __init__(self, driver: Driver, pid: int) -> None:
        self._driver = driver
        self.pid = pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def go_on(self) -> None:
        """After it has stopped itself."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Its exit code; negative where a signal ended it."""
        return int(self._driver.ask("wait"))

    def await_stop(self) -> None:
        """Until it has stopped itself, or ended."""
        while self._state() not in "TZ":
            time.sleep(0.001)

    def work_for(self, seconds: float) -> None:
        """Let it work for so long, or until it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._state() != "Z":
            time.sleep(0.01)

    def _state(self) -> str:
        """A letter, as `ps` shows it: T stopped, Z ended."""
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


# ---- system calls that fail -----------------------------------------------------------------------------------------


def need(program: str) -> str:
    """The path of a program, or the test skips with the reason."""
    return shutil.which(program) or pytest.skip(f"there is no {program}; Debian: apt install {program}")


class Strace:
    """Looks at the system calls of a process that has stopped itself, and lets some of them fail.

    Args:
        pid: of the process.
        log: where the calls are written.
        options: for strace.
    """

    def __init__(self, pid: int, log: Path, *options: str) -> None:
        words = [need("strace"), "-o", str(log), *options, "-p", str(pid)]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        if "attached" not in first:
            self._process.wait()
            pytest.skip(f"strace may not attach to a process here: {first.strip()}")

    def __enter__(self) -> Strace:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        assert self._process.stderr is not None
        self._process.wait(timeout=PATIENCE)  # it ends with the process that it looks at
        self._process.stderr.close()


def calls_between(log: Path, begins: str, ends: str) -> Iterator[tuple[str, int]]:
    """Name of each call between two marks, and the how many-th of that name it is since strace looked."""
    seen: dict[str, int] = {}
    inside = False
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := re.match(r"(\w+)\(", line)) is None:
            continue
        name = found[1]
        seen[name] = seen.get(name, 0) + 1
        if ends in line:
            return
        if inside:
            yield name, seen[name]
        inside = inside or begins in line


# ---- disks ----------------------------------------------------------------------------------------------------------


@contextmanager
def mounted(place: Path, *words: str) -> Iterator[Path]:
    """A disk at a folder while the context lasts; the test skips, with the reason, where mounting is not permitted."""
    place.mkdir(exist_ok=True)
    done = subprocess.run([need("mount"), *words, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip() or done.returncode}")
    try:
        yield place
    finally:
        if subprocess.run(
            ["umount", str(place)], check=False
        ).returncode:  # after a failure somebody may be at work on it
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def memory_disk(place: Path, size: str) -> AbstractContextManager[Path]:
    """A tmpfs of so many bytes."""
    return mounted(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def fill(folder: Path) -> Path:
    """A file that takes what is left of a disk."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 2**8, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


# ---- command line ---------------------------------------------------------------------------------------------------


def carspotter(*words: object, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, perhaps behind another program."""
    command = [*before, sys.executable, "-m", "carspotter", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def is_clear(said: str) -> bool:
    """Whether a failure was told in a line and not as a traceback or as our own fault."""
    return "Traceback" not in said and "fault of carspotter" not in said
