from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carspotter.errors import TrackingError
from carspotter.tracking.lock import Lock, is_held

HOLD = "import sys, time; from pathlib import Path; from carspotter.tracking.lock import Lock\n"
HOLD += "lock = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def test_is_held_until_released(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    assert not is_held(path)
    lock = Lock(path)
    assert is_held(path)
    lock.release()
    assert not is_held(path)
    lock.release()  # the number of a closed file may belong to another file by now


def test_a_second_release_closes_no_other_file(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "a.lock")
    lock.release()
    with (tmp_path / "other").open("w") as other:
        lock.release()
        other.write("still open")
    assert (tmp_path / "other").read_text() == "still open"


def test_readers_do_not_take_one_another_for_a_writer(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "a.lock"
    path.touch()
    with path.open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert not is_held(path)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_lets_go(tmp_path: Path, blow: signal.Signals) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        holder.send_signal(blow)
        holder.wait(timeout=30)
    assert not is_held(path)


def test_an_impossible_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"cannot lock .*file/a\.lock \(.+\); runs need a writable local disk"):
        Lock(tmp_path / "file" / "a.lock")


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A helper started by the training (git, a viewer) must not keep a dead training alive."""
    path = tmp_path / "a.lock"
    lock = Lock(path)
    helper = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(helper, stdin=-1, stdout=-1, text=True, close_fds=False) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        lock.release()
        assert not is_held(path)
        child.communicate("\n", timeout=30)
