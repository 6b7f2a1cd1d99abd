"""A pool is looked through, what is sure trains, and the verdict follows the interval."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from tests.training.test_outside import folder, picture, put_many
from tests.training.test_train import recipe

from carspotter.apps.cli import main
from carspotter.data.cache import PhotoCache
from carspotter.data.scan import scan
from carspotter.data.source import list_photos
from carspotter.data.table import read_table
from carspotter.errors import RecipeError, SourceError, TrackingError
from carspotter.evaluation.metrics import softmax
from carspotter.inference.predictor import load
from carspotter.inference.runtime import RuntimeName
from carspotter.progress import silent
from carspotter.records import Dataset, Figure, Photo
from carspotter.tracking.runs import open_store
from carspotter.training.folds import train_folds
from carspotter.training.gather import gather
from carspotter.training.mine import Pool, Prospect, effect_of, prospect, retrain
from carspotter.training.teacher import shares_of
from carspotter.training.train import train
from helpers.tiny import write_tiny_bundle

pytestmark = pytest.mark.usefixtures("runs_db")


@pytest.fixture
def inside(tmp_path: Path) -> Dataset:
    names = {f"{label}/{i}.png": picture(10 * n + i) for n, label in enumerate(("a", "b")) for i in range(9)}
    return folder(tmp_path / "in", names)


@pytest.fixture
def model(inside: Dataset, tmp_path: Path) -> Path:
    train(inside, recipe(split={"share": 0.3}), out=tmp_path / "model")
    return tmp_path / "model"


def uses(found: Prospect) -> dict[str, str]:
    return {pick.id: pick.use for pick in found.picks}


def like(photo: Photo) -> Image.Image:
    """The drawn picture of a photo of `inside`, again."""
    return picture(int(photo.id[2]) + (10 if photo.label == "b" else 0))


class Counted:
    """The progress that counts how often a photo was read, or shown to the net."""

    photos = 0

    def __call__(self, phase: str, done: int, total: int, said: str = "") -> None:
        self.photos += phase == "photos" and not said


@pytest.mark.slow
def test_a_labelled_pool_trains_and_is_judged_on_what_the_model_held_out(
    inside: Dataset, model: Path, tmp_path: Path
) -> None:
    run = open_store().list()[0]
    held_out = sorted(open_store().split(run.id).validation)
    copied = next(photo for photo in inside.photos if photo.id == held_out[0])
    pictures = {f"A/{i}.png": picture(100 + i) for i in range(3)} | {f"b/{i}.png": picture(200 + i) for i in range(3)}
    pictures |= {"c/0.png": picture(300), "A/copy.jpg": like(copied), "b/twice.jpg": picture(200)}
    extra = folder(tmp_path / "pool", pictures)
    (tmp_path / "pool" / "A" / "2.png").write_bytes(b"\x89PNG broken")
    counted = Counted()
    found = prospect(scan(inside), model, Pool(extra), progress=counted)
    assert counted.photos == 2 * len(extra.photos)  # each was looked at, and shown to the net
    assert uses(found) == {
        "A/0.png": "train",
        "A/1.png": "train",
        "A/2.png": "bad photo",
        "A/copy.jpg": "left out",  # of a photo that judges
        "b/0.png": "train",
        "b/1.png": "train",
        "b/2.png": "train",
        "b/twice.jpg": "left out",
        "c/0.png": "left out",
    }
    why = {pick.id: pick.why for pick in found.picks}
    assert why["c/0.png"] == "the model does not learn c"
    assert why["A/copy.jpg"] == "a near copy of a photo that trains, judges or must stay unseen"
    assert why["b/twice.jpg"] == "a copy of another photo of the pool"
    shares = {pick.id: (pick.label, pick.probability) for pick in found.picks}
    assert shares["c/0.png"] == ("c", None)
    assert shares["A/0.png"][0] == "a"  # classes meet whatever their case
    scores = load(model).scores(list_photos([tmp_path / "pool" / "A" / "0.png"]), tta=2)
    assert shares["A/0.png"][1] == pytest.approx(softmax(scores.logits)[0][0], abs=1e-5)

    new = retrain(found, Pool(extra), out=tmp_path / "new")
    assert open_store().split(new.run.id).validation == open_store().split(run.id).validation
    assert "5 outside photos train" in new.run.extra[0]
    old, after = open_store().answers(run.id), open_store().answers(new.run.id)
    assert old.ids == after.ids
    share = [(kept.logits.argmax(1) == kept.labels).mean() for kept in (old, after)]
    assert new.paired.difference.value == pytest.approx(share[1] - share[0])
    assert new.log_loss.n == new.paired.groups == len(old.ids)
    assert new.effect == "cannot tell"  # six photos tell nothing
    with pytest.raises(SourceError, match="is the model that the new one is compared with"):
        retrain(found, Pool(extra), out=model)
    with pytest.raises(SourceError, match="trained on other photos or labels"):
        prospect(scan(extra), model, Pool(extra))
    with pytest.raises(SourceError, match="trained with photos from outside or by a teacher already"):
        prospect(scan(inside), tmp_path / "new", Pool(extra))


@pytest.mark.slow
def test_of_an_unlabelled_pool_what_is_sure_trains_and_the_rest_is_asked_about(tmp_path: Path) -> None:
    inside, model = put_many(tmp_path / "in"), tmp_path / "model"
    train(inside, recipe(split={"share": 0.3}), out=model)
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(6)} | {"test.jpg": picture(900)})
    folder(tmp_path / "t", {"t.png": picture(900)})
    pool, unseen = list_photos([tmp_path / "pool"]), list_photos([tmp_path / "t"])
    none = prospect(scan(inside), model, Pool(pool, unseen, {"pseudo_bar": 1.0}))
    assert uses(none) == {f"{i}.png": "ask" for i in range(6)} | {"test.jpg": "left out"}  # nobody labels test photos
    worth = [pick.worth for pick in none.picks if pick.use == "ask"]
    assert worth == sorted(worth, reverse=True)
    with pytest.raises(SourceError, match="no photo of the pool may train"):
        retrain(none, Pool(pool))
    counted = Counted()
    some = prospect(scan(inside), model, Pool(pool, unseen, {"pseudo_bar": 0.5}), progress=counted)
    assert counted.photos == 2 * len(pool.photos) + len(unseen.photos)
    assert uses(some) == {f"{i}.png": "train" for i in range(6)} | {"test.jpg": "left out"}
    assert {pick.why for pick in some.picks if pick.use == "train"} == {"the model is sure"}
    assert some.outside.survey is None  # a retraining needs the memory
    # A teacher that finds out for itself, as in `train --unlabelled --teacher`, lets the very same train.
    asked = some.run.recipe.model_copy(update={"pseudo_bar": 0.5})
    taught = gather(scan(inside), asked, some.outside, cache=PhotoCache(None), progress=silent)
    assert (taught.outside, taught.split) == (some.photos.outside, some.photos.split)


@pytest.mark.slow
def test_who_computes_decides_what_trains(tmp_path: Path) -> None:
    inside, model = put_many(tmp_path / "in"), tmp_path / "model"
    train(inside, recipe(split={"share": 0.3}), out=model)
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(6)})
    pool = list_photos([tmp_path / "pool"])
    runtimes: tuple[RuntimeName, ...] = ("onnxruntime", "openvino")
    predictors = [load(model, runtime=runtime) for runtime in runtimes]
    one, other = (shares_of(p.scores(pool, tta=2), p.card).max(1) for p in predictors)
    at = int(abs(one - other).argmax())  # the last bits differ, and a bar can stand between them
    bar = (one[at] + other[at]) / 2
    found = [prospect(scan(inside), model, Pool(pool, settings={"pseudo_bar": bar}), runtime=r) for r in runtimes]
    says = [uses(one)[pool.photos[at].id] for one in found]
    assert says == ["train" if share >= bar else "ask" for share in (one[at], other[at])]


def test_a_pool_that_the_model_cannot_label_is_refused_before_it_is_looked_through(
    inside: Dataset, model: Path, tmp_path: Path
) -> None:
    pool = Pool(list_photos([folder(tmp_path / "pool", {"0.png": picture(700)}).photos[0].where.path]))
    counted = Counted()
    with pytest.raises(SourceError, match="is not calibrated"):
        prospect(scan(inside), model, pool, progress=counted)
    assert counted.photos == 0


def test_a_model_that_held_one_photo_out_judges_nothing(inside: Dataset, tmp_path: Path) -> None:
    few = inside.subset(range(10))  # the only photo of its class always trains
    run = train(few, recipe(split={"share": 0.06}), out=tmp_path / "one")
    assert len(open_store().split(run.id).validation) == 1
    with pytest.raises(SourceError, match="one held 1 photo out; judging needs 2 or more: train it with more photos"):
        prospect(scan(few), tmp_path / "one", Pool(inside))


@pytest.mark.slow
def test_a_model_that_nothing_can_judge_is_refused(
    inside: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(list_photos([folder(tmp_path / "pool", {"0.png": picture(700)}).photos[0].where.path]))
    train(inside, recipe(split={"method": "none"}), out=tmp_path / "all")
    with pytest.raises(SourceError, match="held no photo out"):
        prospect(scan(inside), tmp_path / "all", pool)
    train_folds(scan(inside), recipe(split={"method": "folds", "folds": 2}), out=tmp_path / "joined")
    with pytest.raises(SourceError, match="joined from several networks"):
        prospect(scan(inside), tmp_path / "joined", pool)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="by one process, not 2"):
        prospect(scan(inside), tmp_path / "all", pool)


def test_a_model_whose_run_is_elsewhere(
    inside: Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(list_photos([folder(tmp_path / "pool", {"0.png": picture(700)}).photos[0].where.path]))
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'none' / 'runs.db'}")
    with pytest.raises(TrackingError, match="there is no run"):
        prospect(scan(inside), model, pool)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.01, 0.05, "helped"), (-0.019, 0.03, "did no harm"), (-0.021, 0.03, "cannot tell"), (-0.05, -0.01, "harmed")],
)
def test_the_verdict_follows_the_interval(low: float, high: float, says: str) -> None:
    assert effect_of(Figure(value=(low + high) / 2, low=low, high=high, n=100)) == says


def test_a_place_for_the_new_model_is_tried_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    words = ["mine", str(model), "no source", "--pool", "no pool", "--table", str(tmp_path / "mined.csv"), "-o"]
    assert main([*words, str(model)]) == 2
    assert "is the model that the new one is compared with" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([*words, str(tmp_path / "file" / "new")]) == 2
    assert "is no folder that may be written to" in capsys.readouterr().err


def test_a_bar_for_labels_is_refused_before_anything_is_looked_at(
    inside: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_bundle(tmp_path / "tiny").folder
    words = ["mine", str(model), inside.origin, "--pool", inside.origin, "--table", str(tmp_path / "mined.csv")]
    assert main([*words, "--bar", "0.99"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--bar is for photos without labels, and {inside.origin} has labels; leave it out" in said


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    train(put_many(tmp_path / "in"), recipe(split={"share": 0.3}), out=model)
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(3)})
    (tmp_path / "pool" / "3.png").write_bytes(b"\x89PNG broken")
    words = ["mine", str(model), str(tmp_path / "in"), "--pool", str(tmp_path / "pool"), "--bar", "0.5"]
    words += ["--table", str(tmp_path / "mined.csv"), "-o", str(tmp_path / "new")]
    assert main([*words, "--weight", "0.25"]) == 3
    asked = load(tmp_path / "new").card.recipe
    assert (asked.pseudo_bar, asked.pseudo_weight, asked.outside_weight) == (0.5, 0.25, 1)
    out = capsys.readouterr().out
    assert "weak classes of the model, on the 42 photos" in out
    assert re.search(r"^verdict  (helped|harmed|did no harm|cannot tell): (not )?distinguishable", out, re.MULTILINE)
    table = read_table(tmp_path / "mined.csv")
    assert table.columns == ("id", "use", "label", "probability", "worth", "why")
    assert sorted(row[1] for row in table.rows) == ["bad photo", "train", "train", "train"]
    assert (tmp_path / "new" / "card.json").exists()
    assert main([*words, "--only-list"]) == 3
    assert "nothing was trained" in capsys.readouterr().out
