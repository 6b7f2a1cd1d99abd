"""Runs whose files are there and which the database lacks: it was lost, moved away, or begun anew.

The journals are the truth, so nothing is lost with the database but what MLflow's own page was told beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from carspotter.data.wording import cause
from carspotter.errors import TrackingError
from carspotter.records import Run
from carspotter.tracking.adoption import enter
from carspotter.tracking.folder import JOURNAL, RUN_ID, read_own_run
from carspotter.tracking.index import Index


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery found below one folder.

    Attributes:
        added: runs that the database lacked.
        known: how many it had already, those thrown away on MLflow's page included.
        damaged: a sentence for each run that cannot be read.
    """

    added: tuple[Run, ...]
    known: int
    damaged: tuple[str, ...]


def runs_on_disk(index: Index) -> frozenset[str]:
    """Ids of the runs whose journal lies where this database's runs do.

    Raises:
        TrackingError: the folder cannot be read.
    """
    try:
        names = [entry.name for entry in index.home.iterdir() if RUN_ID.fullmatch(entry.name)]
    except FileNotFoundError:
        return frozenset()
    except OSError as fault:
        raise TrackingError(f"cannot read {index.home} ({cause(fault)}); make it a readable folder") from None
    return frozenset(name for name in names if (index.folder(name) / JOURNAL).exists())


def recover(index: Index) -> Recovered:
    """Enter every run on disk that the database lacks; its files stay as they are, and a second call adds nothing.

    A run whose writer was killed is `interrupted`, as it is for every reader. One that is still being written is
    entered too, and closed by whoever lists the runs after its end.

    Raises:
        TrackingError: the database or the folder cannot be used.
    """
    # Before the ids: a run that is born meanwhile is in the database before it is on disk.
    here = runs_on_disk(index)
    if not here:
        return Recovered((), 0, ())
    with index.alone():
        lacking = sorted(here - index.ids())
        added, damaged = [], []
        for run_id in lacking:
            try:
                run = read_own_run(index.folder(run_id), run_id)
            except TrackingError as fault:
                damaged.append(str(fault))
                continue
            enter(index, run)
            added.append(run)
    return Recovered(tuple(added), len(here) - len(lacking), tuple(damaged))
