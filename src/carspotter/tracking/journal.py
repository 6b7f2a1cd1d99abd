"""The record of one run: a file to which lines are only ever added.

Each line is one JSON object with one key, the event. A `Run` is what the events add up to, so nothing is ever edited,
and a process killed while it writes loses at most the line it had not finished.

    born         the run without results
    split        method, validation (a hash of the held-out photos)
    freezing     one FreezeSummary
    epoch        one EpochRecord
    timing       phase, seconds
    finished     evaluation, bundle, bundle_hash, seconds
    failed       error, seconds
    interrupted  error, seconds
    resumed      epochs, timings: taken up again after so many epochs; what was done since is done anew, and it goes on
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from carspotter.data.wording import cause, place_of
from carspotter.errors import TrackingError
from carspotter.records import Run

Event = tuple[str, dict[str, Any]]
"""Name and content."""

ENDS = ("finished", "failed", "interrupted")
RESULTS = ("history", "freezing", "timings", "evaluation", "bundle", "bundle_hash", "error", "seconds")
"""Fields of a run that other events than `born` bring."""


class Journal:
    """Appends events to a file; each is on disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, name: str, content: dict[str, Any]) -> None:
        """Add one event.

        Raises:
            TrackingError: the disk refuses; the file is as it was before.
        """
        self.extend([(name, content)])

    def mend(self) -> None:
        """Take away half a line that a killed writer left, so that the next one does not glue itself to it.

        Raises:
            TrackingError: the file cannot be read or written.
        """
        try:
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(self.path, whole)
        except OSError as fault:
            raise TrackingError(f"cannot mend {self.path} ({cause(fault)}); make it writable, then go on") from None

    def extend(self, events: Sequence[Event]) -> None:
        """Add events at once, all or none.

        Raises:
            TrackingError: the disk refuses; the file is as it was before.
        """
        lines = [json.dumps({name: content}, ensure_ascii=False, separators=(",", ":")) for name, content in events]
        try:
            _add(self.path, "".join(f"{line}\n" for line in lines).encode())
        except OSError as fault:
            raise TrackingError(
                f"cannot write {self.path} ({cause(fault)}); free some space or make the folder writable, then go on"
            ) from None


def read_journal(path: Path) -> Run:
    """The run that the file's events add up to; its status is `running` where no end was written.

    Raises:
        TrackingError: the file is missing, damaged before its last line, or of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise TrackingError(f"cannot read {path} ({cause(fault)}); put the folder back where it was") from None
    events = _events(data, path)
    if not events or events[0][0] != "born":
        raise TrackingError(f"{path} does not begin with a run; its writer was stopped before the run began")
    return _run(events, path)


def write_journal(path: Path, run: Run) -> None:
    """A journal whose events add up to this run.

    Raises:
        TrackingError: the run has not ended, or the disk refuses.
    """
    if run.status not in ENDS:
        raise TrackingError(f"run {run.id} is {run.status}; only a run that has ended can be taken in")
    stored = run.model_dump(mode="json")
    born = {key: value for key, value in stored.items() if key not in RESULTS}
    end = {key: stored[key] for key in ("evaluation", "bundle", "bundle_hash", "error", "seconds")}
    timings = [("timing", {"phase": phase, "seconds": seconds}) for phase, seconds in stored["timings"].items()]
    Journal(path).extend(
        [
            ("born", {**born, "status": "running"}),
            *(("freezing", summary) for summary in stored["freezing"]),
            *(("epoch", epoch) for epoch in stored["history"]),
            *timings,
            (run.status, end),
        ]
    )


def _add(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(fd).st_size
        try:
            _write_whole(fd, line)
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, before)  # half a line must not glue itself to the next one, nor a refused one count
            raise
    finally:
        os.close(fd)


def _write_whole(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _events(data: bytes, path: Path) -> list[Event]:
    """Whole lines only: what follows the last line end was never acknowledged."""
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            [(name, content)] = json.loads(line).items()
            _must_fit(name, content)
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            raise TrackingError(f"{path}, line {number} is damaged; restore the file from a copy") from None
        found.append((name, content))
    return found


def _must_fit(name: str, content: dict[str, Any]) -> None:
    """Refuse an event that cannot be added up; what is in a run or an epoch is judged by their own types.

    Raises:
        KeyError, TypeError, ValueError: a field is missing, or of another kind.
    """
    if not isinstance(content, dict):
        raise TypeError
    wanted: dict[str, tuple[tuple[str, type | tuple[type, ...]], ...]] = {
        "split": (("method", str), ("validation", (str, type(None)))),
        "freezing": (("stage", str),),
        "timing": (("phase", str), ("seconds", (int, float))),
        "resumed": (("epochs", int), ("timings", dict)),
    }
    for field, kind in wanted.get(name, ()):
        if not isinstance(content[field], kind):
            raise TypeError
    if name == "resumed" and not all(isinstance(seconds, int | float) for seconds in content["timings"].values()):
        raise TypeError


def _run(events: Sequence[Event], path: Path) -> Run:
    events = _standing(events)
    fields = dict(events[0][1])
    fields["history"] = [content for name, content in events if name == "epoch"]
    # A stage that was taken up again says anew what it trains.
    fields["freezing"] = list({content["stage"]: content for name, content in events if name == "freezing"}.values())
    fields["timings"] = _timings(events)
    for name, content in events:
        if name == "split":
            fields |= {"split": content["method"], "validation": content["validation"]}
        elif name in ENDS:
            fields |= {**content, "status": name}
    try:
        return Run.model_validate(fields)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = place_of(first["loc"])
        raise TrackingError(
            f"{path} was written by another version of carspotter ({fields.get('code_version', 'unknown')}): "
            f"{where}: {first['msg']}; read it with that version"
        ) from None


def _standing(events: Sequence[Event]) -> list[Event]:
    """The events that still count: a run that was taken up again has no end yet, and did nothing after that point."""
    kept: list[Event] = []
    for name, content in events:
        if name != "resumed":
            kept.append((name, content))
            continue
        history = [event for event in kept if event[0] == "epoch"][: content["epochs"]]
        kept = [event for event in kept if event[0] not in ("epoch", "timing", *ENDS)] + history
        kept += [("timing", {"phase": phase, "seconds": seconds}) for phase, seconds in content["timings"].items()]
    return kept


def _timings(events: Sequence[Event]) -> dict[str, float]:
    """A phase that ran in several pieces is their sum."""
    total: dict[str, float] = {}
    for name, content in events:
        if name == "timing":
            total[content["phase"]] = total.get(content["phase"], 0.0) + content["seconds"]
    return total
