"""`runs` that come and go: the seed's log, tables and zips of runs, a run's card, MLflow's page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps.console import note, notes, say, table
from carspotter.errors import EXIT_SOME_REFUSED

app = typer.Typer(rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the beginning of one.", show_default=False)]
Log = Annotated[
    Path,
    typer.Argument(
        metavar="LOG", help="The folder with the log's CSV and its descriptions.json, or the CSV.", show_default=False
    ),
]
Report = Annotated[
    Path | None,
    typer.Option("--report", help="Write what each row is: NUM_EXP, distinct, copy_of, reason.", show_default=False),
]
Wanted = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Runs' ids, or their beginnings.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="Every run that has ended.")]
Out = Annotated[
    Path,
    typer.Option("-o", "--out", help=".zip: everything, to import again; .csv, .jsonl, .parquet: a table of runs."),
]
Zip = Annotated[Path, typer.Argument(metavar="FILE.zip", help="What `runs export` wrote.", show_default=False)]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="sqlite:///FOLDER/runs.db or postgresql://USER@HOST/NAME; by default $CARSPOTTER_RUNS, else runs/runs.db.",
        show_default=False,
    ),
]
Of = Annotated[
    str | None,
    typer.Option(
        "--of",
        metavar="NAME",
        help="A database of this folder that is gone, as `recover` names it: take in its runs too.",
        show_default=False,
    ),
]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the page.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; any other than this opens it to others.")]


@app.command("card")
def card_of_run(run_id: RunId) -> None:
    """Show one run on one page: settings and figures by what they are about, each with its description."""
    from carspotter.tracking.card import GROUPS, card
    from carspotter.tracking.runs import open_store

    entries = card(open_store().get(run_id))
    for group in GROUPS:
        rows = [(entry.key, entry.value, entry.about) for entry in entries if entry.group == group]
        if rows:
            say(f"# {group}")
            table(("what", "value", "is"), rows)
            say()


@app.command("import-seed")
def import_seed(log: Log, report: Report = None) -> None:
    """Read the seed's experiment log into runs, and find which rows are no training of their own.

    Every row becomes a run. Copied or edited histories and rows without one are marked, with the reason, so that
    `effect` and `best` leave them out. A second import of the same log adds nothing.
    """
    from carspotter.data.disk import check_writable
    from carspotter.data.table import check_ending, write_table
    from carspotter.data.wording import count
    from carspotter.tracking.runs import open_store
    from carspotter.tracking.seed_log import REPORT_COLUMNS, import_seed_log, read_seed_log

    if report is not None:
        check_ending(report)
        check_writable(report, reads=[log])
    found = read_seed_log(log)
    say(found)
    if report is not None:
        write_table(report, REPORT_COLUMNS, found.report())
        note(f"report in {report}")
    added = import_seed_log(open_store(), found)
    known = len(found.runs) - len(added)
    told = f"{count(len(added), 'run')} added, {known} already there"
    say(told if added else "nothing added: every row is already there")


@app.command("export")
def export_runs(out: Out, run_ids: Wanted = None, all_runs: All = False) -> None:
    """Write runs as a zip that brings them back whole, models included, or as a table with a row per run."""
    from carspotter.data.wording import count
    from carspotter.tracking.runs import open_store
    from carspotter.tracking.transfer import check_target, export_runs

    if bool(run_ids) == all_runs:
        raise typer.BadParameter("name the runs to export, or give --all")
    check_target(out)
    store = open_store()
    runs, damaged = store.survey() if all_runs else (store.find(run_ids or ()), ())
    notes(damaged)
    if all_runs:
        runs = tuple(run for run in runs if run.status != "running")
    notes(export_runs(store, runs, out))
    say(f"{count(len(runs), 'run')} in {out}")


@app.command("import")
def import_runs(file: Zip) -> None:
    """Bring the runs of an exported zip into this store, each whole or not at all.

    A run that is already there with the same content is skipped; other content under its id is refused.
    """
    from carspotter.data.wording import count
    from carspotter.tracking.runs import open_store
    from carspotter.tracking.transfer import import_runs

    moved = import_runs(open_store(), file)
    say(f"{count(len(moved.added), 'run')} added, {len(moved.known)} already there")


@app.command("recover")
def recover_runs(address: Store = None, of: Of = None) -> None:
    """Rebuild a lost or moved run database: take in every run whose files lie beside it and which it lacks.

    Files of runs are only read. What the database knows stays as it is, runs thrown away on MLflow's page included; a
    database that was lost took that mark along, so its thrown-away runs come back. Runs of another database in the
    same folder are left to it.
    """
    from carspotter.tracking.runs import open_store

    store = open_store(address)
    found = store.recover(of)
    states = Counter(run.status for run in found.added)
    listed = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    say(f"{len(found.added)} runs recovered{f' ({listed})' if listed else ''}, {found.known} already there")
    notes(found.damaged)
    for name, number in found.others.items():
        note(f"{number} more here are of the database {name} and were left to it; if it is gone, add --of {name}")
    if not (found.added or found.known or found.others or found.damaged):
        note(f"no run lies below {store.home}; name the database beside its `artifacts` folder with --store")
    if found.damaged:
        raise typer.Exit(EXIT_SOME_REFUSED)


@app.command("ui")
def open_page(port: Port = 5000, host: Host = "127.0.0.1") -> None:
    """Open MLflow's own page over all runs; Ctrl-C ends it."""
    from carspotter.tracking.page import LOOPBACK, become_page, check_page, page_command, page_environment
    from carspotter.tracking.runs import open_store

    store = open_store()
    environment = page_environment(store.uri, store.home)
    check_page()
    if host not in LOOPBACK:
        note(f"{host} lets others in, and MLflow asks for no password: they can read and delete runs")
    say(f"http://{host}:{port}")
    become_page(page_command(host, port), environment)
