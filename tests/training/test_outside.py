"""Outside photos train and never leak: copies of held-out and test photos stay out, whatever was done to them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.training.test_train import STAGES, recipe

from carspotter.apps.cli import main
from carspotter.apps.summary import print_run
from carspotter.apps.toml import toml_lines
from carspotter.data.cache import PhotoCache
from carspotter.data.classes import same_classes
from carspotter.data.scan import scan
from carspotter.data.source import list_photos, read_source
from carspotter.data.wording import brief
from carspotter.errors import EXIT_SOME_REFUSED, EXIT_UNUSABLE, SourceError
from carspotter.evaluation.metrics import softmax
from carspotter.inference.predictor import load
from carspotter.progress import silent
from carspotter.records import Dataset, Split
from carspotter.tracking.runs import open_store
from carspotter.training import outside
from carspotter.training.gather import gather
from carspotter.training.job import Job
from carspotter.training.look import NAMED
from carspotter.training.outside import Offer, Sources, choose
from carspotter.training.teacher import Teacher
from carspotter.training.train import train


def picture(seed: int) -> Image.Image:
    """A picture of its own: coarse random patches."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (160, 120), Image.Resampling.BICUBIC
    )


def folder(place: Path, pictures: dict[str, Image.Image]) -> Dataset:
    for name, image in pictures.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(place / name)
    return read_source(place)


@pytest.fixture
def inside(tmp_path: Path) -> Dataset:
    return folder(
        tmp_path / "in",
        {f"{label}/{i}.png": picture(10 * n + i) for n, label in enumerate(("a", "b")) for i in range(8)},
    )


def put_many(place: Path) -> Dataset:
    """Enough photos that a model of them is calibrated where three tenths are held out."""
    return folder(
        place, {f"{label}/{i}.png": picture(1000 * n + i) for n, label in enumerate(("a", "b")) for i in range(70)}
    )


def test_copies_of_photos_that_must_stay_unseen_never_train(inside: Dataset, tmp_path: Path) -> None:
    half = picture(0).resize((80, 60))
    extra = folder(
        tmp_path / "out",
        {
            "A/new.png": picture(100),
            "A/held-out.jpg": half,
            "B/test.jpg": picture(200),
            "B/again.png": picture(11),
            "c/x.png": picture(300),
        },
    )
    looked = scan(inside)
    facts = {fact.id: fact for fact in looked.facts}
    test = scan(list_photos([folder(tmp_path / "t", {"t.png": picture(200)}).photos[0].where.path]))
    chosen = choose(
        [Offer(scan(same_classes(extra, looked.dataset)), 2.0, foreign=1)],
        [fact for name, fact in facts.items() if name != "a/0.png"],
        [facts["a/0.png"], *test.facts],
    )
    assert [(photo.id, photo.label) for photo in chosen.photos] == [("A/new.png", "a")]
    (sentence,) = chosen.sentences
    assert chosen.weights == (2.0,)
    assert (
        "1 outside photos train with weight 2; left out 2 near copies of held-out or test photos, 1 of other training"
        in sentence
    )
    assert sentence.endswith("0 that cannot be used, 1 of classes that are not learned here")


def test_classes_meet_by_name_or_by_code(inside: Dataset) -> None:
    codes = replace(inside, codes=("7", "8"))
    extra = Dataset(tuple(replace(p, label="7") for p in inside.photos), ("7", "9"), ("7", "9"), "x")
    assert {photo.label for photo in same_classes(extra, codes).photos} == {"a"}
    with pytest.raises(SourceError, match=r"x shares no class with .*: it has 7, 9"):
        same_classes(extra, inside)
    with pytest.raises(SourceError, match="x has no labels"):
        same_classes(Dataset(inside.photos, origin="x"), inside)


def test_classes_that_differ_by_their_case_alone_stay_two(inside: Dataset) -> None:
    known = Dataset((), ("Rio", "RIO", "Ceed"), ("Rio", "RIO", "Ceed"), "ours")
    photos = tuple(replace(inside.photos[0], id=name, label=name) for name in ("RIO", "Rio", "CEED"))
    theirs = Dataset(photos, ("RIO", "Rio", "CEED"), ("RIO", "Rio", "CEED"), "theirs")
    assert [photo.label for photo in same_classes(theirs, known).photos] == ["RIO", "Rio", "Ceed"]
    lower = Dataset((replace(photos[0], label="rio"),), ("rio",), ("rio",), "theirs")
    with pytest.raises(SourceError, match="class rio of theirs may be Rio or RIO of ours; rename it"):
        same_classes(lower, known)


@pytest.mark.usefixtures("runs_db")
@pytest.mark.slow
def test_outside_photos_train_with_their_weight_and_never_validate(inside: Dataset, tmp_path: Path) -> None:
    extra = folder(
        tmp_path / "out",
        {f"{label}/{i}.png": picture(500 + 10 * n + i) for n, label in enumerate(("a", "b")) for i in range(4)},
    )
    alone, heavy, light = (
        train(inside, recipe(outside_weight=weight), job=Job(Sources(more), deliver=False))
        for weight, more in ((1.0, ()), (9.0, (extra,)), (0.1, (extra,)))
    )
    assert alone.extra == ()
    assert "8 outside photos train with weight 9" in heavy.extra[0]
    assert alone.validation == heavy.validation
    assert len({run.history[-1].train_loss for run in (alone, heavy, light)}) == 3
    assert open_store().split(heavy.id) == open_store().split(alone.id)


@pytest.mark.usefixtures("runs_db")
@pytest.mark.slow
def test_a_teacher_labels_what_it_is_sure_of(tmp_path: Path) -> None:
    folder(tmp_path / "pool", {f"{i}.png": picture(700 + i) for i in range(6)})
    pool, inside = list_photos([tmp_path / "pool"]), put_many(tmp_path / "in")
    settings = recipe(split={"share": 0.3, "seed": 3})
    train(inside, settings, out=tmp_path / "teacher")

    def student(bar: float, **changed: object) -> tuple[str, ...]:
        asked = settings.model_copy(update={"pseudo_bar": bar, "seed": 5} | changed)
        return train(inside, asked, job=Job(Sources((), (pool,), tmp_path / "teacher"), deliver=False)).extra

    assert "6 of 6 photos" in student(0.01)[0]
    assert "6 outside photos train with weight 0.5" in student(0.01)[0]
    assert "0 outside photos train" in student(1.0)[0]
    with pytest.raises(SourceError, match="other data or another split, so it may have learned"):
        student(0.01, split=settings.split.model_copy(update={"seed": 4}))
    with pytest.raises(SourceError, match="a teacher needs the same"):
        train(
            folder(tmp_path / "in", {"c/0.png": picture(90), "c/1.png": picture(91)}),
            settings,
            job=Job(Sources((), (pool,), tmp_path / "teacher"), deliver=False),
        )
    with pytest.raises(SourceError, match="no labels that are believed; name a model"):
        train(inside, settings, job=Job(Sources((), (pool,)), deliver=False))


@pytest.mark.slow
@pytest.mark.usefixtures("runs_db")
def test_a_teacher_held_out_the_very_photos_that_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings do not tell: newer code may find other near copies and divide the same photos in another way."""
    folder(tmp_path / "pool", {"0.png": picture(700)})
    settings = recipe(split={"share": 0.3}, wrong_cost=20)
    pool, teacher = list_photos([tmp_path / "pool"]), tmp_path / "teacher"
    many = put_many(tmp_path / "in")
    run = train(many, settings, out=teacher)
    dataset, same = scan(many).dataset, open_store().split(run.id)

    def named(divided: Split) -> int:
        return len(Teacher(teacher, dataset, divided).labels(pool, bar=0).photos)

    assert named(same) == 1
    calibration = load(teacher).card.calibration
    assert calibration is not None
    assert calibration.name_at == pytest.approx(0.95)  # where 20 looks cost as much as a wrong name
    other = Split((*same.train[1:], same.validation[0]), (*same.validation[1:], same.train[0]), same.method)
    with pytest.raises(SourceError, match="other data or another split, so it may have learned"):
        named(other)
    assert named(Split((*same.train, *same.validation), (), "every photo trains")) == 1
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'none' / 'runs.db'}")
    with pytest.raises(
        SourceError, match=rf"its run cannot be asked \(there is no run '{run.id}'.*CARSPOTTER_RUNS, bring"
    ):
        named(same)


@pytest.mark.usefixtures("runs_db")
def test_a_teacher_without_calibration_labels_nothing(inside: Dataset, tmp_path: Path) -> None:
    train(inside, recipe(split={"share": 0.3}), out=tmp_path / "teacher")
    pool = Sources((), (inside,), tmp_path / "teacher")
    with pytest.raises(SourceError, match="is not calibrated: fewer than 40 photos were held out"):
        train(inside, recipe(split={"share": 0.3}), job=Job(pool, deliver=False))


@pytest.mark.usefixtures("runs_db")
@pytest.mark.slow
def test_what_a_teacher_says_is_learned(inside: Dataset, tmp_path: Path) -> None:
    (tmp_path / "in" / "a" / "broken.png").write_bytes(b"\x89PNG broken")
    inside = read_source(tmp_path / "in")
    settings = recipe(split={"share": 0.3, "seed": 3})
    train(inside, settings, out=tmp_path / "teacher")
    sources = Sources(teacher=tmp_path / "teacher")
    taught = gather(
        inside, settings.model_copy(update={"distil": 0.25}), sources, cache=PhotoCache(None), progress=silent
    )
    assert taught.wanted is not None
    assert [one.id for one in taught.looked.dataset.rejected] == ["a/broken.png"]  # which is nothing to the teacher
    assert taught.wanted.sum(1) == pytest.approx(1, abs=1e-6)
    scores = load(tmp_path / "teacher").scores(taught.train, tta=2)
    labels = np.eye(2)[taught.train.labels]
    assert taught.wanted == pytest.approx(0.75 * labels + 0.25 * softmax(scores.logits / 2), abs=1e-5)

    student = settings.model_copy(update={"distil": 0.9, "seed": 5})
    alone = train(inside, settings.model_copy(update={"seed": 5}), job=Job(deliver=False))
    told = train(inside, student, job=Job(sources, deliver=False))
    assert told.history[-1].train_loss != alone.history[-1].train_loss
    assert "is the teacher: what it says of a photo is 0.9 of its target" in told.extra[0]  # a row of its own
    assert told.birth.outside
    with pytest.raises(SourceError, match=r"distil = 0\.9 needs a model"):
        train(inside, student, job=Job(deliver=False))
    with pytest.raises(SourceError, match="would have nothing to teach; name photos with --unlabelled"):
        train(inside, settings, job=Job(sources, deliver=False))


@pytest.mark.usefixtures("runs_db")
def test_a_contests_test_photos_stay_unseen(tmp_path: Path) -> None:
    """Through the command line's reader: the test photos lie beside the training photos and nobody names them."""
    from carspotter.apps.training import read_outside

    inside = folder(
        tmp_path / "in" / "train", {f"{c}/{i}.png": picture(10 * n + i) for n, c in enumerate("ab") for i in range(8)}
    )
    with zipfile.ZipFile(tmp_path / "in" / "train.zip", "w") as archive:
        for photo in inside.photos:
            archive.write(tmp_path / "in" / "train" / photo.id, f"train/{photo.id}")
    rows = "".join(f"{photo.id},{photo.label}\n" for photo in inside.photos)
    (tmp_path / "in" / "train.csv").write_text(f"Id,Category\n{rows}")
    (tmp_path / "in" / "sample-submission.csv").write_text("Id,Category\nt.png,a\n")
    (tmp_path / "in" / "test").mkdir()
    picture(200).save(tmp_path / "in" / "test" / "t.png")
    folder(tmp_path / "out", {"a/leak.jpg": picture(200), "b/new.png": picture(100)})

    for source in (tmp_path / "in", tmp_path / "in" / "train.csv"):
        sources = read_outside(source, [tmp_path / "out"], [], None)
        run = train(inside, recipe(), job=Job(sources, deliver=False))
        assert "1 outside photos train with weight 1; left out 1 near copies of held-out or test photos" in run.extra[0]

    (tmp_path / "in" / "test" / "t.png").unlink()
    with pytest.raises(SourceError, match=r"t\.png"):  # a contest that lacks its test photos protects nothing
        read_outside(tmp_path / "in", [tmp_path / "out"], [], None)


def test_names_are_never_met_by_code(inside: Dataset) -> None:
    named = Dataset(tuple(replace(p, label="Hummer") for p in inside.photos), ("Hummer", "Camry"), ("1", "7"), "x")
    with pytest.raises(SourceError, match="x shares no class"):
        same_classes(named, replace(inside, codes=("0", "1")))


def test_what_is_left_out_of_an_outside_source_is_counted_and_named(inside: Dataset, tmp_path: Path) -> None:
    pictures = {"a/new.png": picture(100), "c/x.png": picture(300), "d/y.png": picture(301)}
    extra = folder(tmp_path / "out", pictures | {f"b/{i}.png": picture(400) for i in range(NAMED + 2)})
    for i in range(NAMED + 2):
        (tmp_path / "out" / "b" / f"{i}.png").write_bytes(b"\x89PNG broken")
    said: list[str] = []
    photos = gather(
        inside,
        recipe(),
        Sources((extra,)),
        cache=PhotoCache(None),
        progress=lambda *words: said.append(str(words[3]) if len(words) > 3 else ""),
    )
    (sentence,) = photos.outside.sentences
    assert sentence.endswith(f"{NAMED + 2} that cannot be used, 2 of classes that are not learned here")
    named = brief(extra.origin)
    assert len([line for line in said if line.startswith(f"left out {named}: b/")]) == NAMED
    assert f"left out 2 more of {named}, as `carspotter check` lists them" in said
    assert len(photos.outside.refused) == NAMED + 2
    assert photos.outside.refused[0].startswith(f"{named}: b/0.png: not_a_photo: ")
    assert photos.train.photos[-1].id == "a/new.png"


@pytest.mark.usefixtures("runs_db")
def test_a_refused_outside_photo_makes_the_exit_code_3_and_strict_refuses(
    inside: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = folder(tmp_path / "out", {"a/new.png": picture(100), "b/broken.png": picture(101)})
    (tmp_path / "out" / "b" / "broken.png").write_bytes(b"\x89PNG broken")
    text = "\n".join(toml_lines(recipe({**STAGES[0], "epochs": 1})))
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    words = ["train", inside.origin, "--recipe", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "model")]
    words += ["--extra", extra.origin]
    assert main([*words, "--strict"]) == EXIT_UNUSABLE
    assert f"{brief(extra.origin)}: b/broken.png: not_a_photo: " in capsys.readouterr().err
    assert open_store().list() == ()
    assert main(words) == EXIT_SOME_REFUSED
    assert "1 photo from outside was left out, see above" in capsys.readouterr().err
    (run,) = open_store().list()
    assert run.rejected == ()
    assert [f"{brief(extra.origin)}: b/broken.png: " in sentence for sentence in run.left_out] == [True]
    print_run(run)
    assert "b/broken.png: not_a_photo: " in capsys.readouterr().out


def test_an_outside_source_has_a_bound(inside: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = folder(tmp_path / "out", {"a/0.png": picture(100), "a/1.png": picture(101), "c/2.png": picture(102)})
    teacher = tmp_path / "absent"  # the bound is asked before the teacher

    def joined(*sources: object) -> None:
        gather(inside, recipe(), Sources(*sources), cache=PhotoCache(None), progress=silent)  # type: ignore[arg-type]

    monkeypatch.setattr(outside, "MAX_PHOTOS", 2)
    joined((extra,))  # two of three are looked at
    with pytest.raises(SourceError, match="3 outside photos would have to be looked at, 2 are allowed; name a part"):
        joined((), (extra,), teacher)
    monkeypatch.setattr(outside, "MAX_PHOTOS", 1)
    with pytest.raises(SourceError, match="2 outside photos would have to be looked at, 1 are allowed"):
        joined((extra,))
