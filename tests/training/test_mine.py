"""A pool is looked through, what is sure trains, and the verdict follows the interval."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.test_outside import folder, picture
from tests.training.test_train import recipe

from carspotter.apps.cli import main
from carspotter.data.scan import scan
from carspotter.data.source import list_photos
from carspotter.data.table import read_table
from carspotter.errors import SourceError, TrackingError
from carspotter.records import Dataset, Figure
from carspotter.tracking.runs import open_store
from carspotter.training.folds import train_folds
from carspotter.training.mine import Mined, Pool, effect_of, mine
from carspotter.training.train import train

pytestmark = pytest.mark.usefixtures("runs_db")


@pytest.fixture
def inside(tmp_path: Path) -> Dataset:
    names = {f"{label}/{i}.png": picture(10 * n + i) for n, label in enumerate(("a", "b")) for i in range(9)}
    return folder(tmp_path / "in", names)


@pytest.fixture
def model(inside: Dataset, tmp_path: Path) -> Path:
    train(inside, recipe(split={"share": 0.3}), out=tmp_path / "model")
    return tmp_path / "model"


def uses(found: Mined) -> dict[str, str]:
    return {pick.id: pick.use for pick in found.picks}


def test_a_labelled_pool_trains_and_is_judged_on_what_the_model_held_out(
    inside: Dataset, model: Path, tmp_path: Path
) -> None:
    run = open_store().list()[0]
    held_out = sorted(open_store().split(run.id).validation)
    copied = next(photo for photo in inside.photos if photo.id == held_out[0])
    extra = folder(
        tmp_path / "pool",
        {f"a/{i}.png": picture(100 + i) for i in range(3)}
        | {f"b/{i}.png": picture(200 + i) for i in range(3)}
        | {"c/0.png": picture(300), "a/copy.jpg": picture(int(copied.id[2]) + (10 if copied.label == "b" else 0))},
    )
    (tmp_path / "pool" / "a" / "2.png").write_bytes(b"\x89PNG broken")
    found = mine(scan(inside), model, Pool(extra), out=tmp_path / "new")
    assert found.after is not None
    assert uses(found) == {
        "a/0.png": "train",
        "a/1.png": "train",
        "a/2.png": "bad photo",
        "a/copy.jpg": "left out",  # of a photo that judges
        "b/0.png": "train",
        "b/1.png": "train",
        "b/2.png": "train",
        "c/0.png": "left out",
    }
    why = {pick.id: pick.why for pick in found.picks}
    assert why["c/0.png"] == "the model does not learn c"
    assert "must stay unseen" in why["a/copy.jpg"]
    assert open_store().split(found.after.id).validation == open_store().split(run.id).validation
    assert "5 outside photos train" in found.after.extra[0]
    old, new = open_store().answers(run.id), open_store().answers(found.after.id)
    assert old.ids == new.ids
    share = [(kept.logits.argmax(1) == kept.labels).mean() for kept in (old, new)]
    assert found.paired.difference.value == pytest.approx(share[1] - share[0])
    assert found.effect == effect_of(found.paired.difference)
    assert found.log_loss.n == len(old.ids)
    with pytest.raises(SourceError, match="trained on other photos or labels"):
        mine(scan(extra), model, Pool(extra))


def test_of_an_unlabelled_pool_what_is_sure_trains_and_the_rest_is_asked_about(
    inside: Dataset, model: Path, tmp_path: Path
) -> None:
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(6)})
    pool = list_photos([tmp_path / "pool"])
    none = mine(scan(inside), model, Pool(pool, settings={"pseudo_bar": 1.0}))
    assert none.after is None  # nothing is that sure, so there is nothing to train
    assert set(uses(none).values()) == {"ask"}
    worth = [pick.worth for pick in none.picks]
    assert worth == sorted(worth, reverse=True)
    some = mine(scan(inside), model, Pool(pool, settings={"pseudo_bar": 0.5}), out=tmp_path / "new")
    assert some.after is not None
    assert set(uses(some).values()) == {"train"}
    assert all(pick.why.startswith("the model is sure: ") for pick in some.picks)
    listed = mine(scan(inside), model, Pool(pool, retrain=False, settings={"pseudo_bar": 0.5}))
    assert listed.after is None
    assert set(uses(listed).values()) == {"train"}


def test_a_model_that_nothing_can_judge_is_refused(inside: Dataset, tmp_path: Path) -> None:
    pool = Pool(list_photos([folder(tmp_path / "pool", {"0.png": picture(700)}).photos[0].where.path]))
    train(inside, recipe(split={"method": "none"}), out=tmp_path / "all")
    with pytest.raises(SourceError, match="held no photo out"):
        mine(scan(inside), tmp_path / "all", pool)
    train_folds(scan(inside), recipe(split={"method": "folds", "folds": 2}), out=tmp_path / "joined")
    with pytest.raises(SourceError, match="joined from several networks"):
        mine(scan(inside), tmp_path / "joined", pool)


def test_a_model_whose_run_is_elsewhere(
    inside: Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(list_photos([folder(tmp_path / "pool", {"0.png": picture(700)}).photos[0].where.path]))
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'none' / 'runs.db'}")
    with pytest.raises(TrackingError, match="there is no run"):
        mine(scan(inside), model, pool)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.01, 0.05, "helped"), (-0.019, 0.03, "did no harm"), (-0.021, 0.03, "cannot tell"), (-0.05, -0.01, "harmed")],
)
def test_the_verdict_follows_the_interval(low: float, high: float, says: str) -> None:
    assert effect_of(Figure(value=(low + high) / 2, low=low, high=high, n=100)) == says


def test_the_command(inside: Dataset, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(3)})
    (tmp_path / "pool" / "3.png").write_bytes(b"\x89PNG broken")
    words = ["mine", str(model), str(tmp_path / "in"), "--pool", str(tmp_path / "pool"), "--bar", "0.5"]
    words += ["--table", str(tmp_path / "mined.csv"), "-o", str(tmp_path / "new")]
    assert main(words) == 3
    out = capsys.readouterr().out
    assert "weak classes of the model, on the 6 photos" in out
    assert "verdict  cannot tell: not distinguishable" in out  # six photos tell nothing
    table = read_table(tmp_path / "mined.csv")
    assert table.columns == ("id", "use", "label", "probability", "worth", "why")
    assert sorted(row[1] for row in table.rows) == ["bad photo", "train", "train", "train"]
    assert (tmp_path / "new" / "card.json").exists()
    assert main([*words, "--only-list"]) == 3
    assert "nothing was trained" in capsys.readouterr().out
