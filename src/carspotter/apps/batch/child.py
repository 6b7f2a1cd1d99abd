"""The process that answers a batch's photos, so that a photo which ends a process does not end the batch.

`answerer.py` starts it as `python -m carspotter.apps.batch.child HANDLE`. Through the pipe it is told the order, and
then lists of photos; it says lists of answers, None when there are no more, or what was raised, with which it ends. A
list without answers says that the work goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from threading import Thread

from carspotter.apps.batch.order import Order
from carspotter.data.patient import PatientReader
from carspotter.inference.batch import answer_photos


def main(handle: int) -> None:
    """Answer until the pipe is closed."""
    for name in (signal.SIGINT, signal.SIGTERM):  # they reach every process of a terminal or a service
        signal.signal(name, signal.SIG_IGN)  # and it is the parent who decides
    Thread(target=_end_with_parent, daemon=True).start()
    pipe = Connection(handle)
    try:
        _answer(pipe)
    except (EOFError, BrokenPipeError):
        return
    except Exception as fault:  # noqa: BLE001 - raised by whoever asked
        fault.add_note(f"in the process that answers:\n{traceback.format_exc()}")
        pipe.send(fault)


def _answer(pipe: Connection) -> None:
    order: Order
    order, threads = pipe.recv()
    predictor = order.load(threads=threads)
    pipe.send(None)
    read = PatientReader(order.patience)

    def go_on(phase: str, done: int, total: int, said: str = "") -> None:  # noqa: ARG001 - as `Progress`
        pipe.send([])

    while True:
        for some in answer_photos(predictor, pipe.recv(), read, tta=order.parts.batch.tta, progress=go_on):
            pipe.send(some)
        pipe.send(None)


def _end_with_parent() -> None:
    """End when the parent does, however it ended: nothing is ever written to stdin, but then it is closed."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
