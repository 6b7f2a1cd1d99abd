"""Does what carspotter does in processes that a storm may harm: `python driver.py`, with orders on stdin.

An order is a line of JSON. It is carried out by a fork of this process, so that the libraries, which take seconds to
import, are imported once; the number of that process is said at once, and its exit code after a further line.

train   the command line, with a checkpoint after every step; each that is on the disk, and each that a resume finds, is
        acknowledged in a file
save    writes a file of ours, stops itself until it is let go on, and writes the next one
work    runs and checkpoints, one after another, each acknowledged on stdout; until it is killed
look    says what of that is lost
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import saves

from carspotter.apps.cli import main
from carspotter.apps.faults import exit_code

STEPS = "steps"
"""File of the acknowledged checkpoints, beside what a process says."""
HANGS = 300.0
"""Seconds after which a process says where it is; the test ends it after twice that."""
BEFORE_THE_FORK = (
    "carspotter.apps.training",
    "carspotter.training.train",
    "mlflow.store.tracking.sqlalchemy_store",
    "onnx",
    "onnxruntime",
    "torch.onnx",
    "matplotlib",
)


def carry_out(order: dict[str, Any]) -> int:
    if order["do"] == "train":
        acknowledge_checkpoints(Path(order["said"]).with_name(STEPS))
        return main(order["words"])
    if order["do"] == "look":
        return exit_code(lambda: saves.look(*map(Path, order["words"])))
    kind, folder = order["words"]
    if order["do"] == "work":
        saves.work(Path(folder))
    save = saves.SAVES[kind].begin(Path(folder))
    save(0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.access(saves.BEGINS, os.F_OK)
    code = exit_code(lambda: as_our_own(save))
    os.access(saves.ENDS, os.F_OK)
    return code


def acknowledge_checkpoints(file: Path) -> None:
    """The word, and where the training stands: stage, epoch, step; nothing where no checkpoint was found."""
    from carspotter.training import checkpointer
    from carspotter.training.checkpoint import Checkpoint, Checkpoints

    class Acknowledged(Checkpoints):
        def write(self, checkpoint: Checkpoint) -> None:
            super().write(checkpoint)
            tell("kept", checkpoint)

        def newest(self) -> Checkpoint | None:
            found = super().newest()
            tell("found", found)
            return found

    def tell(word: str, checkpoint: Checkpoint | None) -> None:
        facts = None if checkpoint is None else checkpoint.facts
        standing = (facts and facts["standing"]) or {"epoch": 0, "step": 0}
        where = [facts["stage"], standing["epoch"], standing["step"]] if facts else []
        with file.open("ab", buffering=0) as steps:
            steps.write(f"{word} {json.dumps(where)}\n".encode())  # in one call: a line that was begun is whole

    checkpointer.Checkpoints = Acknowledged  # type: ignore[misc]
    checkpointer.EPOCH_SECONDS = checkpointer.CHECKPOINT_SECONDS = 0.0


def as_our_own(save: Callable[[int], object]) -> None:
    """Whoever saves takes errors of ours for what they are, and no other."""
    try:
        save(1)
    except OSError as fault:
        raise AssertionError("an error of the system escaped from a save") from fault


def redirect(said: str) -> None:
    """Both streams into a file; orders are for the parent alone."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for number, there in ((0, nowhere), (1, file), (2, file)):
        os.dup2(there, number)
    faulthandler.dump_traceback_later(HANGS)


def serve() -> None:
    while line := sys.stdin.readline():
        order = json.loads(line)
        child = os.fork()
        if not child:
            redirect(order["said"])
            code = carry_out(order)
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)  # noqa: T201 - the answer
        if not sys.stdin.readline():  # the test has failed, and nobody waits any more
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


if __name__ == "__main__":
    for name in BEFORE_THE_FORK:
        import_module(name)
    serve()
