"""Runs whose files are there and which the database lacks: it was lost, moved away, or begun anew.

The journals are the truth, so nothing is lost with the database but what MLflow's own page was told beside them.
Several databases may keep their runs in one folder, and each leaves alone what is noted as another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from carspotter.data.wording import cause, count, visible
from carspotter.errors import TrackingError
from carspotter.records import Run
from carspotter.tracking.adoption import enter
from carspotter.tracking.folder import JOURNAL, RUN_ID, noted_database, read_own_run
from carspotter.tracking.index import Index


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery found below one folder.

    Attributes:
        added: runs that the database lacked.
        known: how many it had already, those thrown away on MLflow's page included.
        damaged: a sentence for each run that cannot be read.
        others: name of another database here → how many runs are its own and were left to it.
    """

    added: tuple[Run, ...]
    known: int
    damaged: tuple[str, ...]
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """The folders of runs that lie where this database's runs do, whichever database they are of.

    Attributes:
        ids: of those with a journal.
        damaged: by id, a sentence on each folder that cannot be looked into.
    """

    ids: frozenset[str] = frozenset()
    damaged: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Sorted:
    """Runs that a database lacks, by whose they are."""

    own: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)


def runs_on_disk(index: Index) -> OnDisk:
    """The runs whose journal lies where this database's runs do.

    Raises:
        TrackingError: the folder of all runs cannot be read.
    """
    try:
        names = [entry.name for entry in index.home.iterdir() if RUN_ID.fullmatch(entry.name)]
    except FileNotFoundError:
        return OnDisk()
    except OSError as fault:
        raise TrackingError(f"cannot read {index.home} ({cause(fault)}); make it a readable folder") from None
    ids, damaged = set(), {}
    for name in names:
        try:
            (index.folder(name) / JOURNAL).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # no run
        except OSError as fault:
            damaged[name] = f"cannot look into {index.home / name} ({cause(fault)}); make it a readable folder"
        else:
            ids.add(name)
    return OnDisk(frozenset(ids), damaged)


def lost(index: Index, here: OnDisk, known: Collection[str]) -> tuple[str, ...]:
    """Sentences on what lies here, was not thrown away, and is not in the database; another database's is not lost.

    Args:
        index: of the database.
        here: found before `known` was read.
        known: ids that the database has.
    """
    unreadable = [sentence for run_id, sentence in here.damaged.items() if run_id not in known]
    unknown = here.ids.difference(known)
    if unknown and not index.is_new:
        unknown -= index.ids()
    lacking = _sort(index, unknown)
    unreadable += lacking.damaged
    back = f"below {index.home} and not in the database"
    cure = "`carspotter runs recover` brings them back"
    if lacking.own:
        unreadable.append(f"{count(len(lacking.own), 'run lies', 'runs lie')} {back}; {cure}")
    if lacking.unmarked:
        older = "or of another database here, for an older version did not note whose they are"
        unreadable.append(f"{count(len(lacking.unmarked), 'run lies', 'runs lie')} {back}, {older}; {cure}")
    return tuple(unreadable)


def recover(index: Index, of: str | None = None) -> Recovered:
    """Enter every run on disk that the database lacks; its files stay as they are, and a second call adds nothing.

    A run whose writer was killed is `interrupted`, as it is for every reader. One that is still being written is
    entered too, and closed by whoever lists the runs after its end.

    Args:
        index: of the database.
        of: name of another database here that is gone: its runs are entered too.

    Raises:
        TrackingError: the database or the folder cannot be used.
    """
    # Before the ids: a run that is born meanwhile is in the database before it is on disk.
    here = runs_on_disk(index)
    if not here.ids:
        return Recovered((), 0, tuple(here.damaged.values()))
    with index.alone():
        known = index.ids()
        lacking = _sort(index, here.ids - known, of)
        damaged = [sentence for run_id, sentence in here.damaged.items() if run_id not in known] + lacking.damaged
        added = []
        for run_id in sorted(lacking.own + lacking.unmarked):
            try:
                run = read_own_run(index.folder(run_id), run_id)
            except TrackingError as fault:
                damaged.append(str(fault))
                continue
            enter(index, run)
            added.append(run)
    return Recovered(tuple(added), len(here.ids & known), tuple(damaged), dict(sorted(lacking.others.items())))


def _sort(index: Index, run_ids: Iterable[str], of: str | None = None) -> _Sorted:
    found = _Sorted()
    for run_id in sorted(run_ids):
        try:
            name = noted_database(index.folder(run_id))
        except TrackingError as fault:
            found.damaged.append(str(fault))
            continue
        if name is None:
            found.unmarked.append(run_id)
        elif name == index.address.name or visible(name) == of:
            found.own.append(run_id)
        else:
            found.others[visible(name)] += 1
    return found
