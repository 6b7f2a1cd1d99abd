from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pytest

from carspotter.data import known
from carspotter.data.source import find_contest, read_contest, read_source
from carspotter.errors import Reason, SourceError
from carspotter.records import Dataset, Location


def pack(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def faults(*args: object, **options: object) -> tuple[str, ...]:
    with pytest.raises(SourceError) as caught:
        read_source(*args, **options)  # type: ignore[arg-type]
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def labels(dataset: Dataset) -> dict[str, str | None]:
    return {photo.id: photo.label for photo in dataset.photos}


TRAIN = "Id,Category\na.jpg,0\nb.jpg,10\nc.jpg,2\n"


@pytest.fixture
def contest(tmp_path: Path) -> Path:
    put(tmp_path / "train.csv", TRAIN)
    pack(tmp_path / "train.zip", "train/0/a.jpg", "train/10/b.jpg", "train/2/c.jpg")
    put(tmp_path / "sample-submission.csv", "Id,Category\nq.jpg,0\np.jpg,0\n")
    pack(tmp_path / "test.zip", "test_upload/p.jpg", "test_upload/q.jpg")
    return tmp_path


# ---- contest --------------------------------------------------------------------------------------------------------


def test_contest(contest: Path) -> None:
    dataset = read_source(contest)
    assert labels(dataset) == {"a.jpg": "0", "b.jpg": "10", "c.jpg": "2"}
    assert dataset.classes == dataset.codes == ("0", "2", "10")  # as numbers, not as texts
    assert dataset.photos[0].where == Location(str(contest / "train.zip"), "train/0/a.jpg")
    assert dataset.origin == str(contest)
    assert dataset.notes == ()
    assert labels(read_source(contest / "train.csv")) == labels(dataset)


@pytest.mark.parametrize("names", [("a.jpg", "b.jpg", "c.jpg"), ("train/0/a.jpg", "train/10/b.jpg", "train/2/c.jpg")])
def test_contest_with_a_folder_flat_or_nested(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path / "train.csv", TRAIN)
    fill(tmp_path / "train", *names)
    assert labels(read_source(tmp_path)) == {"a.jpg": "0", "b.jpg": "10", "c.jpg": "2"}


def test_zip_goes_before_the_folder_unpacked_from_it(contest: Path) -> None:
    fill(contest / "train", "0/a.jpg")
    dataset = read_source(contest)
    assert len(dataset.photos) == 3
    assert "folder train beside it left aside" in dataset.notes[0]


def test_classes_table_names_the_codes(contest: Path) -> None:
    put(contest / "classes.csv", "Category,Name\n10,Niva\n2,Kalina\n0,Priora\n7,Passat\n")
    dataset = read_source(contest)
    assert dataset.classes == ("Priora", "Kalina", "Niva")
    assert dataset.codes == ("0", "2", "10")
    assert labels(dataset)["b.jpg"] == "Niva"
    assert "without a photo left out: Passat" in dataset.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Category,Name\n0,Priora\n2,Priora\n10,Niva\n", "Name given more than once: Priora"),
        ("Category,Name\n0,Priora\n0,Kalina\n10,Niva\n", "Category given more than once: 0"),
        ("Category,Name\n0,Priora\n2,\n10,Niva\n", "an empty Name: line 3"),
        ("Category,Name\n0,Priora\n10,Niva\n", "gives no name to the label 2"),
        ("Category,What\n0,Priora\n", "no name column"),
    ],
)
def test_faults_of_the_classes_table(contest: Path, text: str, words: str) -> None:
    put(contest / "classes.csv", text)
    (fault,) = faults(contest)
    assert words in fault


def test_known_names_are_used_when_the_ids_match(contest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = known.id_proof(["a.jpg", "b.jpg", "c.jpg"])
    made = known.KnownContest("made-up", 3, proof, {"0": "Zero", "2": "Two", "10": "Ten"})
    monkeypatch.setattr(known, "CONTESTS", (made,))
    dataset = read_source(contest)
    assert dataset.classes == ("Zero", "Two", "Ten")
    assert dataset.codes == ("0", "2", "10")
    assert "made-up" in dataset.notes[0]
    put(contest / "train.csv", TRAIN.replace("c.jpg,2\n", ""))
    assert read_source(contest).classes == ("0", "10")


def test_known_contest_has_ten_names() -> None:
    assert list(known.SF_DL_CAR.names) == [str(i) for i in range(10)]
    assert len(set(known.SF_DL_CAR.names.values())) == 10
    assert known.SF_DL_CAR.names["9"] == "Lada 21099"


def test_a_table_without_its_photos_is_one_line(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,0\n" for i in range(2_000))
    put(tmp_path / "train.csv", "Id,Category\n" + rows)
    (fault,) = faults(tmp_path)
    assert "names 2,000 photos (0.jpg, 1.jpg, 2.jpg and 1,997 more)" in fault
    assert "neither train.zip nor a folder train" in fault
    pack(tmp_path / "train.zip", "train/0/x.jpg")
    (fault,) = faults(tmp_path)
    assert "none of the 2,000 photos" in fault
    assert "it holds train/0/x.jpg" in fault


def test_single_missing_photos_are_rejected_and_extra_ones_noted(contest: Path) -> None:
    pack(contest / "train.zip", "train/0/a.jpg", "train/10/b.jpg", "train/2/extra.jpg")
    dataset = read_source(contest)
    assert list(labels(dataset)) == ["a.jpg", "b.jpg"]
    assert [(refused.id, refused.reason) for refused in dataset.rejected] == [("c.jpg", Reason.MISSING)]
    assert dataset.classes == ("0", "2", "10")
    assert "1 photo is not named by train.csv and left out: train/2/extra.jpg" in dataset.notes[0]


def test_a_label_folder_that_contradicts_the_table(contest: Path) -> None:
    pack(contest / "train.zip", "train/0/a.jpg", "train/2/b.jpg", "train/2/c.jpg")
    (fault,) = faults(contest)
    assert "1 label contradicted by the photo's folder: b.jpg (line 3: 10, folder 2)" in fault


def test_label_folders_may_bear_names_or_codes(contest: Path) -> None:
    put(contest / "classes.csv", "Category,Name\n10,Niva\n2,Kalina\n0,Priora\n")
    pack(contest / "train.zip", "Priora/a.jpg", "10/b.jpg", "other/c.jpg")
    assert len(read_source(contest).photos) == 3
    pack(contest / "train.zip", "Kalina/a.jpg", "10/b.jpg", "other/c.jpg")
    assert "contradicted" in faults(contest)[0]


def test_two_photos_of_one_id(contest: Path) -> None:
    pack(contest / "train.zip", "train/0/a.jpg", "train/2/a.jpg", "train/10/b.jpg", "train/2/c.jpg")
    (fault,) = faults(contest)
    assert "several photos for 1 id of train.csv: a.jpg (train/0/a.jpg, train/2/a.jpg)" in fault


def test_one_photo_for_two_ids(contest: Path) -> None:
    put(contest / "train.csv", "Id,Category\na.jpg,0\na,0\nb.jpg,10\nc.jpg,2\n")
    (fault,) = faults(contest)
    assert "1 photo of train.zip named by more than one id: a.jpg and a" in fault


def test_all_faults_of_all_parts_at_once(contest: Path) -> None:
    put(contest / "train.csv", "Id,Category\na.jpg,0\na.jpg,1\n,0\nb.jpg,\nc.jpg, \n")
    put(contest / "classes.csv", "Category,Name\n0,Priora\n0,Niva\n")
    (contest / "train.zip").write_bytes(b"no zip")
    found = faults(contest)
    assert len(found) == 5
    assert "Category given more than once: 0" in found[0]
    assert "train.zip" in found[1]
    assert "1 row without an id: line 4" in found[2]
    assert "1 id given more than once: a.jpg (lines 2, 3)" in found[3]
    assert "2 rows without a label: line 5, 6" in found[4]


def test_columns_that_are_missing(contest: Path) -> None:
    put(contest / "train.csv", "Number,Make\n1,a\n")
    found = faults(contest)
    assert len(found) == 2
    assert "no id column among Number, Make" in found[0]
    assert "--label-column" in found[1]


def test_labels_that_look_alike_are_noted(contest: Path) -> None:
    put(contest / "train.csv", "Id,Category\na.jpg,Niva\nb.jpg,niva \nc.jpg,Kalina\n")
    assert "'Niva' and 'niva '" in read_source(contest).notes[0]


def test_a_packed_contest_says_to_unpack_it(tmp_path: Path) -> None:
    path = pack(tmp_path / "download.zip", "train.csv", "train.zip", "test.zip")
    assert "unpack this outer one first" in faults(path)[0]


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_ids_are_text_exactly_as_written(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", "file;model\n007;A\n1e5;B\n 7;A\n")
    pack(tmp_path / "t.zip", "007.jpg", "1e5", "7.jpg", " 7")
    dataset = read_source(tmp_path / "t.csv")
    assert [photo.id for photo in dataset.photos] == ["007", "1e5", " 7"]
    assert dataset.photos[2].where == Location(str(tmp_path / "t.zip"), " 7")


def test_paths_match_by_their_ends(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", "path,label\nphotos/x/1.jpg,A\ny\\1.jpg,B\n")
    pack(tmp_path / "t.zip", "x/1.jpg", "y/1.jpg")
    assert [str(photo.where).rsplit("!")[1] for photo in read_source(tmp_path / "t.csv").photos] == [
        "x/1.jpg",
        "y/1.jpg",
    ]


def test_a_table_never_reaches_outside_its_photos(tmp_path: Path) -> None:
    fill(tmp_path, "secret.jpg")
    put(tmp_path / "s" / "t.csv", f"Id,label\n../secret.jpg,A\n{tmp_path}/secret.jpg,A\na.jpg,B\n")
    fill(tmp_path / "s" / "t", "a.jpg")
    dataset = read_source(tmp_path / "s" / "t.csv")
    assert [photo.id for photo in dataset.photos] == ["a.jpg"]
    assert len(dataset.rejected) == 2


def test_folder_with_one_table_and_one_zip(tmp_path: Path) -> None:
    put(tmp_path / "labels.csv", "file,model,Group\na.jpg,A,g1\nb.jpg,B,\n")
    pack(tmp_path / "photos.zip", "photos/a.jpg", "photos/b.jpg")
    for source in (tmp_path, tmp_path / "labels.csv"):
        assert [(photo.label, photo.group) for photo in read_source(source).photos] == [("A", "g1"), ("B", None)]


def test_named_columns_and_photos(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", "Id,key,Category,kind,ad\nzz,a.jpg,9,X,1\nyy,b.jpg,9,Y,1\n")
    fill(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    dataset = read_source(
        tmp_path / "t.csv",
        photos=tmp_path / "elsewhere",
        id_column="key",
        label_column="kind",
        group_column="ad",
    )
    assert [(p.id, p.label, p.group) for p in dataset.photos] == [("a.jpg", "X", "1"), ("b.jpg", "Y", "1")]
    found = faults(tmp_path / "t.csv", photos=tmp_path / "elsewhere", label_column="colour")
    assert "no column 'colour'; it has Id, key, Category, kind, ad" in found[0]


def test_columns_that_could_both_be_meant(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", "Id,model,class\na.jpg,A,B\n")
    fill(tmp_path / "t", "a.jpg")
    assert "the label could be model, class; name one with --label-column" in faults(tmp_path / "t.csv")[0]


def test_workbook_as_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Id", "label"], ["007.jpg", "A"], ["8.jpg", "B"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    pack(tmp_path / "t.zip", "007.jpg", "8.jpg")
    assert labels(read_source(tmp_path)) == {"007.jpg": "A", "8.jpg": "B"}


def test_columns_without_a_table_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.jpg", "b/y.jpg")
    assert "no table" in faults(tmp_path, label_column="kind")[0]


# ---- folders and photos ---------------------------------------------------------------------------------------------

TREE = ("Niva/a.jpg", "Niva/deep/b.jpg", "Passat/c.jpg")


@pytest.mark.parametrize("top", ["", "cars/", "cars/all/"])
def test_class_folders_whatever_lies_above(tmp_path: Path, top: str) -> None:
    names = [top + name for name in TREE]
    for source in (fill(tmp_path / "d", *names), pack(tmp_path / "z.zip", *names)):
        dataset = read_source(source)
        assert dataset.classes == ("Niva", "Passat")
        assert labels(dataset) == dict(zip(names, ("Niva", "Niva", "Passat"), strict=True))


def test_folder_with_one_zip_is_that_zip(tmp_path: Path) -> None:
    pack(tmp_path / "pairs.zip", *TREE)
    assert len(read_source(tmp_path).photos) == 3


def test_numbered_folders_are_named_by_classes_table(tmp_path: Path) -> None:
    fill(tmp_path, "10/a.jpg", "9/b.jpg")
    put(tmp_path / "classes.csv", "Category,Name\n9,Nine\n10,Ten\n")
    dataset = read_source(tmp_path)
    assert dataset.classes == ("Nine", "Ten")
    assert labels(dataset) == {"10/a.jpg": "Ten", "9/b.jpg": "Nine"}


def test_files_outside_the_class_folders_are_named(tmp_path: Path) -> None:
    dataset = read_source(fill(tmp_path, *TREE, "README.txt"))
    assert len(dataset.photos) == 3
    assert "1 file outside the class folders left out: README.txt" in dataset.notes[-1]


def test_folders_of_a_split_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path, "train/A/a.jpg", "Val/A/b.jpg")
    assert "parts of a set and not classes" in faults(tmp_path)[0]


def test_photos_without_labels(tmp_path: Path) -> None:
    for source in (fill(tmp_path / "d", "p/a.jpg", "p/b.jpg"), pack(tmp_path / "z.zip", "p/a.jpg", "p/b.jpg")):
        dataset = read_source(source)
        assert dataset.classes == ()
        assert labels(dataset) == {"p/a.jpg": None, "p/b.jpg": None}
    assert len(read_source(tmp_path / "d" / "p" / "a.jpg").photos) == 1


def test_nothing_there(tmp_path: Path) -> None:
    assert "there is no" in faults(tmp_path / "nope")[0]
    assert "holds no photos" in faults(tmp_path)[0]


# ---- submissions ----------------------------------------------------------------------------------------------------


def test_read_contest_keeps_the_sample_s_order(contest: Path) -> None:
    found = read_contest(contest)
    assert [photo.id for photo in found.test.photos] == ["q.jpg", "p.jpg"]
    assert found.test.photos[0].where == Location(str(contest / "test.zip"), "test_upload/q.jpg")
    assert all(photo.label is None for photo in found.test.photos)
    assert found.sample.columns == ("Id", "Category")


def test_read_contest_needs_no_training_set(contest: Path) -> None:
    put(contest / "train.csv", "not,a\ntable")
    (contest / "train.zip").unlink()
    assert read_contest(contest).test.notes == ()


@pytest.mark.parametrize("header", ["image_name,Category", "Id,Prediction"])
def test_of_a_samples_two_columns_one_known_name_tells_both(contest: Path, header: str) -> None:
    put(contest / "sample-submission.csv", f"{header}\nq.jpg,0\n")
    assert [photo.id for photo in read_contest(contest).test.photos] == ["q.jpg"]


def test_a_sample_whose_columns_nobody_knows_is_refused_before_any_work(contest: Path) -> None:
    put(contest / "sample-submission.csv", "x,y\nq.jpg,0\n")
    with pytest.raises(SourceError, match="has the columns x, y; expected one id"):
        read_contest(contest)


def test_read_contest_needs_every_test_photo(contest: Path) -> None:
    pack(contest / "test.zip", "test_upload/p.jpg")
    with pytest.raises(SourceError, match=r"lacks 1 photo of 2 that sample-submission.csv names: q.jpg"):
        read_contest(contest)


def test_read_contest_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_contest(tmp_path)
    assert len(caught.value.problems) == 2
    put(tmp_path / "sample-submission.csv", "Id,Category\nq.jpg,0\nq.jpg,0\n")
    fill(tmp_path / "test", "q.jpg")
    with pytest.raises(SourceError, match="1 id given more than once"):
        read_contest(tmp_path)


def test_a_contest_has_both_a_sample_and_test_photos(contest: Path) -> None:
    assert find_contest(contest) == contest
    assert find_contest(contest / "train.csv") == contest
    (contest / "sample-submission.csv").unlink()
    assert find_contest(contest) is None
    assert find_contest(contest / "train.csv") is None
