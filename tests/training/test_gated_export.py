"""A trained net that computes otherwise, judged beside itself, refused or written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.test_train import recipe

from carspotter.apps.cli import main
from carspotter.data.source import read_source
from carspotter.errors import SourceError, TrainingError
from carspotter.evaluation import gate
from carspotter.evaluation.metrics import evaluate
from carspotter.inference.predictor import Predictor, load
from carspotter.records import Dataset
from carspotter.tracking.runs import open_store
from carspotter.training.gated_export import export_gated
from carspotter.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("runs_db")]


@pytest.fixture
def model(lot: Dataset, tmp_path: Path) -> Path:
    train(lot, recipe(), out=tmp_path / "model")
    return tmp_path / "model"


def lenient(monkeypatch: pytest.MonkeyPatch, bound: float) -> None:
    for name in ("WORSE", "OFF", "SHY"):
        monkeypatch.setattr(gate, name, bound)


def log_loss(predictor: Predictor, lot: Dataset, held_out: int) -> float:
    """Of the photos that a model held out."""
    ids = open_store().split(predictor.card.provenance.run_id).validation
    assert len(ids) == held_out
    judging = lot.subset([at for at, photo in enumerate(lot.photos) if photo.id in ids])
    return evaluate(predictor.scores(judging), judging.labels, predictor.card.classes).log_loss


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_export_is_a_model_like_any_other(
    lot: Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    lenient(monkeypatch, 1.0)
    found = export_gated(model, lot, tmp_path / "int8", runtime=runtime)  # type: ignore[arg-type]
    assert found.faults == ()
    assert found.difference.photos == 6
    assert found.after.megabytes < 0.6 * found.before.megabytes
    original, small = load(model), load(tmp_path / "int8", runtime=runtime)  # type: ignore[arg-type]
    note = small.card.export
    assert (note.precision, note.of, note.photos, note.runtime) == ("int8", original.bundle.hash, 6, runtime)
    assert note.accuracy == found.after.standing.accuracy.value
    assert small.card.evaluation.accuracy == found.after.standing.accuracy
    assert small.card.evaluation.log_loss == log_loss(small, lot, original.card.evaluation.accuracy.n)
    assert small.card.evaluation.log_loss != original.card.evaluation.log_loss
    assert small.card.provenance.parity is None
    assert original.card.export is None
    assert small.bundle.hash != original.bundle.hash
    photo = lot.photos[0]
    assert abs(small.identify(photo).top[0].probability - original.identify(photo).top[0].probability) < 0.2
    assert small.reference is not None
    assert small.card.calibration == original.card.calibration  # under which it was judged


def test_single_precision_on_openvino_is_the_same_file_judged_there(lot: Dataset, model: Path, tmp_path: Path) -> None:
    found = export_gated(model, lot, tmp_path / "ov", runtime="openvino", precision="f32")
    assert found.faults == ()
    assert found.difference.difference.value == 0
    made = load(tmp_path / "ov", runtime="openvino")
    assert made.bundle.read("model.onnx") == load(model).bundle.read("model.onnx")
    assert (made.card.export.precision, made.card.export.runtime) == ("f32", "openvino")


def test_what_a_person_dropped_judges_no_export(
    lot: Dataset, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dropped = open_store().split(load(model).card.provenance.run_id).validation[0]
    table = tmp_path / "decisions.csv"
    table.write_text(f"id,kind,decision,who,when\n{dropped},outlier,drop,ann,2026-11-27\n", encoding="utf-8")
    words = ["export", str(model), "--to", "openvino", "--validate", str(tmp_path / "lot"), "-o", str(tmp_path / "ov")]
    assert main([*words, "--decisions", str(table)]) == 0
    assert "on the same 5 photos" in capsys.readouterr().out


def test_photos_of_one_ad_are_one_witness_for_an_export_too(lot: Dataset, tmp_path: Path) -> None:
    photos = [replace(one, group=f"{one.label} {int(Path(one.id).stem) // 2}") for one in lot.photos]
    train(replace(lot, photos=tuple(photos)), recipe(split={"share": 0.5}), out=tmp_path / "model")
    found = export_gated(tmp_path / "model", lot, tmp_path / "ov", runtime="openvino", precision="f32").difference
    assert found.groups == found.photos / 2
    assert found.grouped == f" in {found.groups} groups"


def test_half_precision_is_refused_where_the_processor_has_none(lot: Dataset, model: Path, tmp_path: Path) -> None:
    if load(model, runtime="openvino", precision="bf16").bf16:
        made = export_gated(model, lot, tmp_path / "half", runtime="openvino", precision="bf16", force=True).bundle
        assert load(made.folder, runtime="openvino").bf16  # as its card says
        return
    with pytest.raises(TrainingError, match="openvino has no bf16 on this processor"):
        export_gated(model, lot, tmp_path / "half", runtime="openvino", precision="bf16", force=True)
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "add --int8, or --to openvino"),
        (["--bf16"], "--bf16 goes with --to openvino"),
        (["--to", "openvino", "--int8", "--bf16"], "choose one"),
    ],
)
def test_what_makes_no_export_is_said_before_anything_is_read(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "absent", "--validate", "absent", "-o", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_answers_otherwise_is_refused_with_the_figures(
    lot: Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lenient(monkeypatch, -2.0)  # nothing is good enough
    words = ["export", str(model), "--int8", "--validate", str(tmp_path / "lot"), "-o", str(tmp_path / "int8")]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "original" in out
    assert "refused: accuracy falls by" in err
    assert not (tmp_path / "int8").exists()
    assert main([*words, "--force"]) == 0
    assert "written although accuracy falls by" in capsys.readouterr().err
    assert len(load(tmp_path / "int8").card.export.faults) == 3


def test_other_photos_cannot_judge(model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for i in range(3):
            source = next((tmp_path / "lot" / "red").glob(f"{i}.png"))
            (tmp_path / "other" / name / f"x{i}.png").write_bytes(source.read_bytes())
    with pytest.raises(SourceError, match="has 0 photos that trained the model and 0 that it held out"):
        export_gated(model, read_source(tmp_path / "other"), tmp_path / "int8")
