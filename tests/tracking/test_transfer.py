"""Runs out of a store and back, and every zip that must not come in."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carspotter.errors import ArchiveError, SourceError, TrackingError
from carspotter.inference.bundle import read_bundle
from carspotter.recipe import Recipe
from carspotter.records import Dataset, EpochRecord, Evaluation, Machine, Run, Scores, Split
from carspotter.tracking.index import Index, Known
from carspotter.tracking.runs import RunStore, open_store
from carspotter.tracking.seed_log import import_seed_log, read_seed_log
from carspotter.tracking.transfer import export_runs, import_runs
from helpers.seed_log import training, write_log
from helpers.tiny import write_tiny_bundle


@pytest.fixture
def run(  # noqa: PLR0917 - fixtures
    store: RunStore,
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    machine: Machine,
    make_epoch: Callable[..., EpochRecord],
    make_evaluation: Callable[..., Evaluation],
    tmp_path: Path,
) -> Run:
    """A finished run with everything that a training leaves."""
    with store.start(recipe, dataset, machine) as writer:
        writer.split(split)
        writer.epoch(make_epoch(0))
        logits = np.array([[1, 0], [0, 1]], dtype=np.float32)
        writer.answers(Scores(("2.jpg", "3.jpg"), logits, logits), np.array([0, 1]))
        model = write_tiny_bundle(tmp_path / "models" / "tiny")
        writer.finish(make_evaluation(), model.folder, model.hash)
    return store.get(writer.id)


@pytest.fixture
def model(run: Run) -> Path:
    assert run.bundle is not None
    return Path(run.bundle)


@pytest.fixture
def other(template: Path, tmp_path: Path) -> RunStore:
    """Another store."""
    file = tmp_path / "other" / "runs.db"
    file.parent.mkdir()
    shutil.copy(template, file)
    return open_store(f"sqlite:///{file}")


@pytest.fixture
def packed(store: RunStore, run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "runs.zip"
    assert export_runs(store, [run], path) == ()
    return path


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, honest: bool = True) -> Path:
    """The zip with its entries changed; with the hashes put right where `honest`."""
    with zipfile.ZipFile(path) as zipped:
        entries = {name: zipped.read(name) for name in zipped.namelist()}
    change(entries)
    if honest:
        manifest = json.loads(entries["manifest.json"])
        for packed in manifest["runs"]:
            for kind, folder in (("files", f"runs/{packed['id']}/"), ("bundle", f"runs/{packed['id']}/bundle/")):
                for name in packed[kind]:
                    packed[kind][name] = hashlib.sha256(entries.get(folder + name, b"")).hexdigest()
        entries["manifest.json"] = json.dumps(manifest).encode()
    changed = path.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w") as zipped:
        for name, data in entries.items():
            zipped.writestr(name, data)
    return changed


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def edit(entries: dict[str, bytes]) -> None:
        manifest = json.loads(entries["manifest.json"])
        change(manifest)
        entries["manifest.json"] = json.dumps(manifest).encode()

    return edit


# ---- there and back -------------------------------------------------------------------------------------------------


def test_a_run_comes_back_whole(store: RunStore, other: RunStore, run: Run, packed: Path, model: Path) -> None:
    shutil.rmtree(model)  # gone where it was trained
    moved = import_runs(other, packed)
    assert (len(moved.added), moved.known) == (1, ())
    (found,) = other.list()
    assert found.id == run.id
    assert found.model_copy(update={"bundle": run.bundle}) == run
    assert found.bundle is not None
    assert read_bundle(found.bundle).hash == run.bundle_hash  # its model came along, and is found
    assert other.split(run.id) == store.split(run.id)
    assert np.array_equal(other.answers(run.id).logits, store.answers(run.id).logits)
    name = "journal.jsonl"
    assert (other.folder(run.id) / name).read_bytes() == (store.folder(run.id) / name).read_bytes()
    assert not list(other.home.glob(".*"))


def test_a_second_import_adds_nothing(other: RunStore, run: Run, packed: Path) -> None:
    import_runs(other, packed)
    before = {path: path.stat().st_mtime_ns for path in other.home.rglob("*.json*")}
    assert import_runs(other, packed) == import_runs(other, packed)
    assert import_runs(other, packed).known == (run.id,)
    assert len(other.list()) == 1
    assert {path: path.stat().st_mtime_ns for path in other.home.rglob("*.json*")} == before


def test_what_came_in_goes_out_again(other: RunStore, run: Run, packed: Path, tmp_path: Path) -> None:
    import_runs(other, packed)
    assert export_runs(other, other.list(), tmp_path / "again.zip") == ()
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_a_run_without_a_model_says_so(store: RunStore, other: RunStore, run: Run, model: Path, tmp_path: Path) -> None:
    shutil.rmtree(model)
    (note,) = export_runs(store, [run], tmp_path / "runs.zip")
    assert note.startswith(f"run {run.id} goes without its model")
    import_runs(other, tmp_path / "runs.zip")
    assert other.list() == (run,)


def test_a_model_that_was_replaced_does_not_go_along(store: RunStore, run: Run, model: Path, tmp_path: Path) -> None:
    shutil.rmtree(model)
    write_tiny_bundle(model, ("cyan", "magenta", "yellow"))
    (note,) = export_runs(store, [run], tmp_path / "runs.zip")
    assert note.endswith("holds another one by now")


def test_a_running_run_is_not_exported(
    store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine, tmp_path: Path
) -> None:
    with store.start(recipe, dataset, machine) as writer:
        with pytest.raises(TrackingError, match="still running"):
            export_runs(store, store.list(), tmp_path / "runs.zip")
        writer.finish()
    assert not (tmp_path / "runs.zip").exists()


def test_an_interrupted_run_stays_interrupted(
    store: RunStore, other: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), store.start(recipe, dataset, machine):
        raise KeyboardInterrupt
    export_runs(store, store.list(), tmp_path / "runs.zip")
    import_runs(other, tmp_path / "runs.zip")
    assert [run.status for run in other.list()] == ["interrupted"]
    assert other.list() == store.list()


def test_a_run_whose_writer_was_killed_travels_as_interrupted(
    store: RunStore, other: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine, tmp_path: Path
) -> None:
    """Its journal has no end, and a store that knew only runs with one could be listed no more."""
    writer = store.start(recipe, dataset, machine)
    writer._lock.release()  # as a kill does
    export_runs(store, store.list(), tmp_path / "runs.zip")
    import_runs(other, tmp_path / "runs.zip")
    assert [run.status for run in other.list()] == [run.status for run in store.list()] == ["interrupted"]


@pytest.mark.parametrize("number", [1, 4])
def test_the_index_is_read_as_often_for_many_runs_as_for_one(
    store: RunStore,
    other: RunStore,
    make_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    runs = store.adopt([make_run(f"{n:032x}", bundle=None) for n in range(number)])
    read, reads = Index.known, []

    def counted(index: Index) -> dict[str, Known]:
        reads.append(index)
        return read(index)

    monkeypatch.setattr(Index, "known", counted)
    assert len(store.find(run.id for run in runs)) == number
    assert len(reads) == 1
    export_runs(store, runs, tmp_path / "runs.zip")
    assert len(reads) == 2
    assert len(import_runs(other, tmp_path / "runs.zip").added) == number
    assert len(reads) == 4  # what is there; and again behind the lock, for somebody else may import too
    assert import_runs(other, tmp_path / "runs.zip").added == ()
    assert len(reads) == 6


def test_runs_of_the_seed_s_log_travel_too(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    log = read_seed_log(write_log(tmp_path / "log", [training(1), training(2)]))
    import_seed_log(store, log)
    export_runs(store, store.list(), tmp_path / "runs.zip")
    assert len(import_runs(other, tmp_path / "runs.zip").added) == 2
    assert import_seed_log(other, log) == ()  # known by their ids


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_a_table_has_one_row_per_run(store: RunStore, run: Run, tmp_path: Path) -> None:
    import_seed_log(store, read_seed_log(write_log(tmp_path / "log", [training(1)])))
    assert export_runs(store, store.list(), tmp_path / "runs.csv") == ()
    with (tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        ours, seed = csv.DictReader(file)
    assert (ours["id"], ours["accuracy"], ours["accuracy_low"], ours["accuracy_n"]) == (run.id, "0.5", "0.4", "100")
    assert (ours["stage.1.lr"], ours["seed"], ours["epochs"], ours["log.AUG_TYPE"]) == ("0.001", "0", "1", "")
    assert (seed["stage.0.lr"], seed["seed"], seed["log.AUG_TYPE"]) == ("0.0001", "", "ImageDataGenerator")
    assert float(seed["best_val_accuracy"]) > 0.6


def test_a_spreadsheet_runs_nothing_of_it(
    store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine, tmp_path: Path
) -> None:
    with store.start(recipe.model_copy(update={"name": "=HYPERLINK(1)"}), dataset, machine) as writer:
        writer.finish()
    export_runs(store, store.list(), tmp_path / "runs.csv")
    assert ",'=HYPERLINK(1)," in (tmp_path / "runs.csv").read_text()


def test_an_unknown_ending_is_said_first(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the ending must be \.zip .* or \.csv"):
        export_runs(store, [], tmp_path / "runs.tar")


# ---- refused --------------------------------------------------------------------------------------------------------

Change = Callable[[dict[str, bytes]], None]


def flip_weights(entries: dict[str, bytes]) -> None:
    name = next(name for name in entries if name.endswith("model.onnx"))
    entries[name] = entries[name][:-1] + bytes([entries[name][-1] ^ 1])


def journal_of(entries: dict[str, bytes]) -> str:
    return next(name for name in entries if name.endswith("journal.jsonl"))


def tell_of_another(entries: dict[str, bytes]) -> None:
    name = journal_of(entries)
    run_id = name.split("/")[1]
    entries[name] = entries[name].replace(run_id.encode(), b"f" * 32)


def claim_another_model(entries: dict[str, bytes]) -> None:
    name = journal_of(entries)
    entries[name] = entries[name].replace(b'"bundle_hash":"', b'"bundle_hash":"0')


def cut_answers(entries: dict[str, bytes]) -> None:
    name = next(name for name in entries if name.endswith("held_out.safetensors"))
    entries[name] = entries[name][:-4]


def add_pickle(entries: dict[str, bytes]) -> None:
    folder = journal_of(entries).removesuffix("journal.jsonl")
    entries[f"{folder}model.pkl"] = b"\x80\x04."

    def name_it(manifest: dict[str, Any]) -> None:
        manifest["runs"][0]["files"]["model.pkl"] = ""

    edit_manifest(name_it)(entries)


def climb(manifest: dict[str, Any]) -> None:
    manifest["runs"][0]["bundle"]["../../../../evil.json"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "honest", "sentence"),
    [
        (flip_weights, False, r"model\.onnx is not what the manifest says \(sha256\)"),
        (flip_weights, True, r"run \w{32}: model\.onnx is damaged or altered"),  # the card's own hash
        (tell_of_another, True, r"the journal of run \w+ tells of run f{32}"),
        (claim_another_model, True, "is not the one that its journal names"),
        (cut_answers, True, "held_out"),
        (lambda entries: entries.update({"extra.txt": b"x"}), True, r"entry extra\.txt is not in the manifest"),
        (lambda entries: entries.pop(journal_of(entries)), False, r"journal\.jsonl is missing"),
        (add_pickle, True, r"brings model\.pkl, which is no part of a run"),
        (edit_manifest(climb), False, r"brings \.\./\.\./\.\./\.\./evil\.json"),
        (lambda entries: entries.update({"../evil.txt": b"x"}), True, r"climbs out"),
        (lambda entries: entries.pop("manifest.json"), False, r"manifest\.json: the zip has no such entry"),
        (
            lambda entries: entries.update({"manifest.json": b"{"}),
            False,
            r"expected a zip that `carspotter runs export`",
        ),
        (edit_manifest(lambda manifest: manifest.update(version=2)), False, "has layout 2, this version reads up to 1"),
        (edit_manifest(lambda manifest: manifest["runs"][0].update(id="../x")), False, r"runs\.0\.id"),
        (edit_manifest(lambda m: m["runs"].append(m["runs"][0])), False, "stands twice in the manifest"),
        (edit_manifest(lambda m: m["runs"][0]["files"].pop("journal.jsonl")), False, r"has no journal\.jsonl"),
    ],
)
def test_a_zip_that_is_not_what_it_says_is_refused_whole(
    other: RunStore, packed: Path, change: Change, honest: bool, sentence: str
) -> None:
    with pytest.raises(SourceError, match=sentence) as told:
        import_runs(other, rewrite(packed, change, honest=honest))
    assert all("\n" not in problem for problem in told.value.problems)
    assert other.list() == ()
    assert [path.name for path in other.home.glob("*") if path.name != "taking-in.lock"] == []


def test_an_id_that_is_a_path_is_refused_before_anything_is_written(
    other: RunStore, run: Run, packed: Path, tmp_path: Path
) -> None:
    """An absolute one: joined to the folder in which runs are unpacked, it would take that folder's place."""
    place = tmp_path / "elsewhere"
    path = f"{place}/{run.id}"

    def lead_out(entries: dict[str, bytes]) -> None:
        for name in [name for name in entries if name.startswith("runs/")]:
            entries[name.replace(run.id, path, 1)] = entries.pop(name)
        edit_manifest(lambda manifest: manifest["runs"][0].update(id=path))(entries)

    with pytest.raises(SourceError, match=r"runs\.0\.id"):
        import_runs(other, rewrite(packed, lead_out))
    assert not place.exists()


def test_a_damaged_run_keeps_the_good_ones_out_too(
    store: RunStore, other: RunStore, run: Run, recipe: Recipe, dataset: Dataset, machine: Machine, tmp_path: Path
) -> None:
    with store.start(recipe, dataset, machine) as writer:
        writer.finish()
    export_runs(store, store.list(), tmp_path / "runs.zip")
    with pytest.raises(SourceError, match="sha256"):
        import_runs(other, rewrite(tmp_path / "runs.zip", flip_weights, honest=False))
    assert other.list() == ()


def test_no_zip_is_said(other: RunStore, tmp_path: Path) -> None:
    (tmp_path / "runs.zip").write_text("id,name")
    with pytest.raises(ArchiveError):
        import_runs(other, tmp_path / "runs.zip")


def test_other_content_under_a_known_id_is_refused(other: RunStore, run: Run, packed: Path) -> None:
    import_runs(other, packed)
    journal = other.folder(run.id) / "journal.jsonl"
    before = journal.read_bytes()

    def longer(entries: dict[str, bytes]) -> None:
        entries[journal_of(entries)] += b'{"timing":{"phase":"x","seconds":1.0}}\n'

    with pytest.raises(SourceError, match=rf"run {run.id} is already there with other content \(journal\.jsonl\)"):
        import_runs(other, rewrite(packed, longer))
    assert journal.read_bytes() == before


# ---- taking in ------------------------------------------------------------------------------------------------------


def test_a_kill_before_the_index_learned_of_it_is_made_good(other: RunStore, run: Run, packed: Path) -> None:
    import_runs(other, packed)
    _forget(other, run.id)
    assert other.list() == ()
    assert len(import_runs(other, packed).added) == 1
    assert [found.id for found in other.list()] == [run.id]


def test_a_folder_of_something_else_is_left_alone(other: RunStore, run: Run, packed: Path) -> None:
    import_runs(other, packed)
    journal = other.folder(run.id) / "journal.jsonl"
    _forget(other, run.id)
    journal.write_text("mine")
    with pytest.raises(TrackingError, match="exists and is another run's; move it away"):
        import_runs(other, packed)
    assert journal.read_text() == "mine"


def _forget(store: RunStore, run_id: str) -> None:
    """The index as it was before it learned of a run."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as base, base:
        base.execute("UPDATE runs SET lifecycle_stage = 'deleted'")


def test_a_run_that_is_there_is_not_taken_in_again(store: RunStore, run: Run) -> None:
    with pytest.raises(TrackingError, match="is already there, and runs are never edited"):
        store.take_in({run.id: lambda folder: None})


def test_only_ended_runs_are_adopted(store: RunStore, make_run: Callable[..., Run]) -> None:
    with pytest.raises(TrackingError, match="is running; only a run that has ended"):
        store.adopt([make_run(status="running")])
    assert store.list() == ()


def test_an_adopted_run_is_the_run_that_was_given(
    store: RunStore, make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord]
) -> None:
    runs = [make_run("a" * 32, history=(make_epoch(0), make_epoch(1))), make_run("b" * 32, status="failed", error="x")]
    assert store.adopt(runs) == tuple(runs)
    assert store.adopt(runs) == ()
    assert {run.id: run for run in store.list()} == {run.id: run for run in runs}
    assert store.get("aaaa") == runs[0]
