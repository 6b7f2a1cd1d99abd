"""The drawn lot: a small contest of ten car models that nobody needs to download.

Car photos cannot be had offline, so the package draws some. They show what the real task shows (views, colours, night,
snow, plates, watermark, two models that only the rear tells apart, and faults of a real table) and no real car. A
figure reached on them says that the machinery works; it says nothing about real photos.
"""

from __future__ import annotations

import csv
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from carspotter.data.disk import whole_file
from carspotter.data.drawing.models import CAR_MODELS, TWINS
from carspotter.data.drawing.plan import Faults, Slot, Truth, given_labels, paint_slot, plan_lot
from carspotter.data.wording import cause
from carspotter.errors import SourceError

__all__ = ["Faults", "Lot", "Truth", "draw_lot"]

MARK = "These photos are DRAWN by carspotter. They show no real car."
"""First line of a lot's README.txt, by which `draw_lot` knows its own work again."""
FILES = frozenset(
    {"README.txt", "classes.csv", "sample-submission.csv", "test.zip", "train.csv", "train.zip", "truth.csv"}
)
"""Everything a lot may hold; a folder with anything else in it is somebody's own."""
TRUTH_COLUMNS = ("Id", "Category", "view", "night", "snow", "colour", "fault", "of", "split")
ZIP_DATE = (2020, 1, 1, 0, 0, 0)
"""Fixed, so that the same seed gives the same bytes."""
SMALLEST = 64
"""Fewest rows and columns, assumption: below, a lamp is less than a pixel."""
LARGEST = 2048
"""As the largest `Geometry`."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A drawn contest on disk.

    Attributes:
        folder: where it lies, in the competition's layout.
        classes: names of the models, by category.
        truth: what is really on each photo, in the order of the tables, training photos first.
    """

    folder: Path
    classes: tuple[str, ...]
    truth: tuple[Truth, ...]

    def write_truth(self, path: str | Path | None = None) -> Path:
        """Write the exact truth as a table; by default `truth.csv` in the lot's folder. Flags are 0 or 1.

        Raises:
            SourceError: the file cannot be written.
        """
        target = self.folder / "truth.csv" if path is None else Path(path)
        rows = [[int(v) if isinstance(v, bool) else v for v in astuple(truth)] for truth in self.truth]
        with whole_file(target) as part:
            _write_csv(part, TRUTH_COLUMNS, rows)
        return target


def draw_lot(
    folder: str | Path,
    *,
    train: int = 400,
    test: int = 100,
    height: int = 240,
    width: int = 320,
    seed: int = 0,
    faults: bool | Faults = True,
) -> Lot:
    """Draw a small contest: `train.csv`, `train.zip`, `test.zip`, `sample-submission.csv`, `classes.csv`, `README.txt`.

    The same arguments give the same bytes on one machine. The folder appears whole or not at all. The truth is not
    written; it is in the returned `Lot`, and `Lot.write_truth` writes it.

    Args:
        folder: new or empty, or a lot drawn earlier, which is replaced.
        train: labelled photos.
        test: photos to answer; always clean.
        height: of a landscape photo, pixels; about one in eight is upright instead.
        width: of a landscape photo, pixels.
        seed: decides everything.
        faults: True plants the default faults among the training photos (fewer of them below 400 photos), a `Faults`
            plants exactly its counts, False none.

    Raises:
        SourceError: the folder holds something else or cannot be written, or the numbers are not sound.
    """
    folder = Path(folder)
    _check_numbers(train, test, height, width, seed)
    _check_folder(folder)
    planted = Faults().scaled(train) if faults is True else faults or None
    slots = plan_lot(train, test, seed, planted)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            _write_lot(Path(beside) / "new", slots, height, width)
            if folder.exists():
                folder.rename(Path(beside) / "old")
            (Path(beside) / "new").rename(folder)
    except OSError as fault:
        raise SourceError(
            f"cannot write {folder}: {cause(fault)}; name a place with room that may be written to"
        ) from None
    return Lot(folder, tuple(model.name for model in CAR_MODELS), tuple(slot.truth for slot in slots))


def _check_numbers(train: int, test: int, height: int, width: int, seed: int) -> None:
    problems = [
        f"a drawn lot with {value} {what} photos: expected {least} to 100000"
        for what, value, least in (("training", train, len(CAR_MODELS)), ("test", test, 1))
        if not least <= value <= 100_000
    ]
    problems += [
        f"drawn photos with {value} {what}: expected {SMALLEST} to {LARGEST}"
        for what, value in (("rows", height), ("columns", width))
        if not SMALLEST <= value <= LARGEST
    ]
    if seed < 0:
        problems.append(f"seed {seed} of a drawn lot: expected a whole number from 0 up")
    if problems:
        raise SourceError(problems)


def _check_folder(folder: Path) -> None:
    """Only nothing, an empty folder, or an earlier lot may be written over."""
    if not os.path.lexists(folder):
        return
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
    if found == [] or (found and FILES.issuperset(found) and _is_marked(folder / "README.txt")):
        return
    what = (
        "is not a folder" if found is None else f"holds other files ({', '.join(found[:3])}{', …' * (len(found) > 3)})"
    )
    raise SourceError(
        f"cannot draw a lot into {folder}: it {what}; name a new or empty folder, or an earlier drawn lot"
    )


def _is_marked(readme: Path) -> bool:
    return readme.is_file() and readme.read_bytes().startswith(MARK.encode())


def _write_lot(folder: Path, slots: Sequence[Slot], height: int, width: int) -> None:
    folder.mkdir()
    parts = {split: [slot for slot in slots if slot.truth.split == split] for split in ("train", "test")}
    for split, members in parts.items():
        _write_zip(folder / f"{split}.zip", members, height, width)
    _write_csv(folder / "train.csv", ("Id", "Category"), given_labels(slots))
    _write_csv(folder / "sample-submission.csv", ("Id", "Category"), [(slot.truth.id, "0") for slot in parts["test"]])
    _write_csv(folder / "classes.csv", ("Category", "Name"), [(str(i), m.name) for i, m in enumerate(CAR_MODELS)])
    (folder / "README.txt").write_text(_readme(slots), encoding="utf-8", newline="\n")


def _write_zip(path: Path, slots: Sequence[Slot], height: int, width: int) -> None:
    """Stored, not deflated: JPEGs do not shrink."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for slot in slots:
            entry = zipfile.ZipInfo(slot.member, ZIP_DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, on every system
            archive.writestr(entry, paint_slot(slot, height, width))


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _readme(slots: Sequence[Slot]) -> str:
    counts = Counter(slot.truth.split for slot in slots)
    planted = Counter(slot.truth.fault for slot in slots if slot.truth.fault)
    names = "\n".join(f"  {i}  {model.name}" for i, model in enumerate(CAR_MODELS))
    faults = "\n".join(f"  {count:3d}  {fault}" for fault, count in planted.items()) or "  none"
    a, b = (CAR_MODELS[i].name for i in TWINS)
    return f"""{MARK}

A stand-in for a contest of car photos, made with code because real photos cannot be had offline. Models, plates and
the watermark are invented. A score reached here says nothing about real photos.

Photos: {counts["train"]} for training (train.csv, train.zip) and {counts["test"]} to answer (test.zip, in the order of
sample-submission.csv).
Categories:
{names}
{a} and {b} differ only behind the rear door: from the front nobody can tell them apart.

Faults planted among the training photos:
{faults}
"""
