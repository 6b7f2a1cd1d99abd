"""The drawn lot on disk: layout, truth, faults, and what it may write over."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from carspotter.data.synthetic import MARK, Faults, Lot, draw_lot
from carspotter.errors import SourceError

SMALL = {"train": 48, "test": 12, "height": 96, "width": 128}
LAYOUT = {"README.txt", "classes.csv", "sample-submission.csv", "test.zip", "train.csv", "train.zip"}
FAULTS = Faults(4, 1, 1, 2, 2, 3, 2, 2, 2)


@pytest.fixture(scope="module")
def lot(tmp_path_factory: pytest.TempPathFactory) -> Lot:
    return draw_lot(tmp_path_factory.mktemp("drawn") / "lot", **SMALL, seed=3, faults=FAULTS)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def photos(lot: Lot) -> dict[str, bytes]:
    """Id → JPEG."""
    found = {}
    for split in ("train", "test"):
        with zipfile.ZipFile(lot.folder / f"{split}.zip") as archive:
            found |= {name.rsplit("/", 1)[-1]: archive.read(name) for name in archive.namelist()}
    return found


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def away(a: Image.Image, b: Image.Image) -> float:
    """Mean difference in grey levels, at thumbnail size."""
    left, right = (np.asarray(image.resize((32, 24)), dtype=float) for image in (a, b))
    return float(np.abs(left - right).mean())


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# ---- layout --------------------------------------------------------------------------------------------------------


def test_the_layout_is_the_contests(lot: Lot) -> None:
    assert {path.name for path in lot.folder.iterdir()} == LAYOUT
    header, *labels = rows(lot.folder / "train.csv")
    assert header == ["Id", "Category"]
    with zipfile.ZipFile(lot.folder / "train.zip") as archive:
        assert archive.namelist() == [f"train/{category}/{name}" for name, category in labels]
        assert archive.testzip() is None
    header, *sample = rows(lot.folder / "sample-submission.csv")
    assert header == ["Id", "Category"]
    assert {category for _, category in sample} == {"0"}
    with zipfile.ZipFile(lot.folder / "test.zip") as archive:
        assert archive.namelist() == [f"test_upload/{name}" for name, _ in sample]
    assert rows(lot.folder / "classes.csv") == [["Category", "Name"], *([str(i), n] for i, n in enumerate(lot.classes))]
    assert (len(labels), len(sample), len(lot.classes)) == (48, 12, 10)


def test_it_says_that_it_is_drawn(lot: Lot) -> None:
    text = (lot.folder / "README.txt").read_text(encoding="utf-8")
    assert text.startswith(MARK)
    assert "DRAWN" in text
    assert "48 for training" in text
    assert all(name in text for name in lot.classes)


def test_photos_have_the_size_and_some_are_upright(lot: Lot) -> None:
    whole = [truth.id for truth in lot.truth if truth.fault != "cropped_copy"]
    sizes = Counter(picture(photos(lot)[name]).size for name in whole)
    assert set(sizes) == {(128, 96), (96, 128)}
    assert sizes[96, 128] < sizes[128, 96]


def test_the_same_arguments_give_the_same_bytes(lot: Lot, tmp_path: Path) -> None:
    again = draw_lot(tmp_path / "again", **SMALL, seed=3, faults=FAULTS)
    assert contents(again.folder) == contents(lot.folder)
    assert again.truth == lot.truth
    other = draw_lot(tmp_path / "other", train=10, test=1, height=96, width=128, seed=4, faults=False)
    assert other.truth[0] != lot.truth[0]


# ---- truth and faults ----------------------------------------------------------------------------------------------


def test_the_truth_is_written_only_when_asked(lot: Lot, tmp_path: Path) -> None:
    own = draw_lot(tmp_path / "lot", train=10, test=2, height=64, width=64, faults=False)
    assert not (own.folder / "truth.csv").exists()
    assert own.write_truth() == own.folder / "truth.csv"
    assert {path.name for path in own.folder.iterdir()} == LAYOUT | {"truth.csv"}
    header, *lines = rows(lot.write_truth(tmp_path / "elsewhere.csv"))
    assert header == ["Id", "Category", "view", "night", "snow", "colour", "fault", "of", "split"]
    assert [line[0] for line in lines] == [truth.id for truth in lot.truth]
    assert [line[6] for line in lines] == [truth.fault for truth in lot.truth]
    assert {line[3] for line in lines} == {"0", "1"}
    assert not (lot.folder / "truth.csv").exists()


def test_a_truth_that_cannot_be_written_is_one_line(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"^cannot write .*truth\.csv.*choose another place") as caught:
        lot.write_truth(tmp_path / "file" / "truth.csv")
    assert len(caught.value.problems) == 1


def test_each_fault_is_there_as_often_as_asked(lot: Lot) -> None:
    planted = Counter(truth.fault for truth in lot.truth if truth.fault)
    assert dict(planted) == FAULTS.counts
    assert all(truth.split == "train" for truth in lot.truth if truth.fault)


def test_labels_are_true_except_where_the_fault_says_so(lot: Lot) -> None:
    given = dict(rows(lot.folder / "train.csv")[1:])
    for truth in lot.truth:
        if truth.split == "test":
            assert truth.category in set("0123456789")
        elif truth.fault in ("truck", "interior"):
            assert truth.category == ""
        else:
            assert (given[truth.id] != truth.category) == (truth.fault == "wrong_label")


def test_copies_are_what_they_are_called(lot: Lot) -> None:
    data, by_id = photos(lot), {truth.id: truth for truth in lot.truth}
    for truth in lot.truth:
        if not truth.of:
            assert not truth.fault.endswith("copy")
            continue
        original, copy = data[truth.of], data[truth.id]
        assert by_id[truth.of].fault == ""
        assert by_id[truth.of].category == truth.category
        assert (copy == original) == (truth.fault == "exact_copy")
        whole, seen = picture(original), picture(copy)
        if truth.fault == "re_encoded_copy":
            assert len(copy) < len(original)
            assert away(seen, whole) < 3
        elif truth.fault == "mirrored_copy":
            assert away(ImageOps.mirror(seen), whole) < 1
            assert away(seen, whole) > 3
        elif truth.fault == "cropped_copy":
            assert whole.width - 10 <= seen.width < whole.width
            assert seen.height < whole.height
            box = (4, 3, whole.width - 4, whole.height - 3)
            assert away(seen, whole.crop(box)) < away(seen, whole)


def test_no_two_other_photos_share_their_bytes(lot: Lot) -> None:
    data = photos(lot)
    assert len(set(data.values())) == len(data) - FAULTS.exact_copy


def test_dark_and_blurry_shots_are(lot: Lot) -> None:
    data = photos(lot)
    light = {t.id: np.asarray(picture(data[t.id]).convert("L"), dtype=float) for t in lot.truth}
    edges = {name: float(np.abs(np.diff(grey, axis=1)).mean()) for name, grey in light.items()}
    dark = [t.id for t in lot.truth if t.fault == "dark"]
    blurry = [t.id for t in lot.truth if t.fault == "blurry"]
    clean = [t.id for t in lot.truth if t.fault == "" and not t.night]
    assert max(light[name].mean() for name in dark) < 20 < min(light[name].mean() for name in clean)
    assert max(edges[name] for name in blurry) < float(np.median([edges[name] for name in clean])) / 2


def test_true_plants_fewer_faults_in_a_small_lot_and_false_none(tmp_path: Path) -> None:
    small = draw_lot(tmp_path / "small", train=40, test=1, height=64, width=64)
    assert Counter(t.fault for t in small.truth if t.fault) == dict.fromkeys(FAULTS.counts, 1)
    clean = draw_lot(tmp_path / "clean", train=20, test=1, height=64, width=64, faults=False)
    assert {t.fault for t in clean.truth} == {""}
    assert {t.of for t in clean.truth} == {""}


# ---- where it may write --------------------------------------------------------------------------------------------


def quick(folder: Path, **settings: int) -> Lot:
    return draw_lot(folder, **{"train": 10, "test": 1, "height": 64, "width": 64, **settings}, faults=False)


def test_a_missing_and_an_empty_folder_are_filled(tmp_path: Path) -> None:
    assert (quick(tmp_path / "a" / "b" / "lot").folder / "train.zip").is_file()
    (tmp_path / "empty").mkdir()
    assert (quick(tmp_path / "empty").folder / "train.zip").is_file()


def test_an_earlier_lot_is_replaced_whole(tmp_path: Path) -> None:
    quick(tmp_path / "lot", test=3).write_truth()
    quick(tmp_path / "lot", seed=9)
    assert len(rows(tmp_path / "lot" / "sample-submission.csv")) == 2
    assert not (tmp_path / "lot" / "truth.csv").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["lot"]


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("Id,Category\n")
    with pytest.raises(
        SourceError, match=r"cannot draw a lot into .*mine: it holds other files \(train\.csv\); name a"
    ):
        quick(tmp_path / "mine")
    assert contents(tmp_path / "mine").keys() == {"train.csv"}


def test_a_lot_to_which_somebody_added_a_file_is_left_alone(tmp_path: Path) -> None:
    folder = quick(tmp_path / "lot").folder
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(SourceError, match="holds other files"):
        quick(folder, seed=2)
    assert contents(folder) == before


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lot").write_text("mine")
    with pytest.raises(SourceError, match="it is not a folder; name a new or empty folder"):
        quick(tmp_path / "lot")
    assert (tmp_path / "lot").read_text() == "mine"


def test_a_parent_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"^cannot write .*lot: .+; name a place with room"):
        quick(tmp_path / "file" / "lot")


def test_a_full_disk_leaves_the_earlier_lot_and_nothing_else(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are a Unix matter")
    folder = quick(tmp_path / "lot").folder
    before = contents(folder)
    code = (
        "import resource, sys\n"
        "from carspotter.data.synthetic import draw_lot\n"
        "from carspotter.errors import SourceError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (20000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        "    draw_lot(sys.argv[1], train=30, test=1, height=96, width=128, faults=False)\n"
        "except SourceError as fault:\n"
        "    print(fault)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert run.stdout.startswith(f"cannot write {folder}: File too large")
    assert run.stderr == ""
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["lot"]


def test_unsound_numbers_are_all_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        draw_lot(tmp_path / "lot", train=9, test=0, height=63, width=4000, seed=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "a drawn lot with 9 training photos",
        "a drawn lot with 0 test photos",
        "drawn photos with 63 rows",
        "drawn photos with 4000 columns",
        "seed -1 of a drawn lot",
    ]
    assert not (tmp_path / "lot").exists()
