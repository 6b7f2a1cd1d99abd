from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carspotter.data.disk import hash_file
from carspotter.errors import BundleError
from carspotter.inference.bundle import MAX_CARD_BYTES, Bundle, check_target, read_bundle, write_bundle
from carspotter.records import FORMAT_VERSION, Calibration
from helpers.tiny import tiny_card, tiny_files, tiny_onnx, write_tiny_bundle


def edit_card(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle.folder / "card.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def refused(bundle: Bundle, why: str) -> None:
    with pytest.raises(BundleError, match=why) as caught:
        read_bundle(bundle.folder)
    assert "\n" not in str(caught.value)


# ---- whole ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tiny_bundle: Bundle) -> None:
    found = read_bundle(tiny_bundle.folder)
    assert found == tiny_bundle
    assert found.notes == ()
    assert found.hash == found.card.hash
    assert found.read("model.onnx") == tiny_onnx().SerializeToString()
    assert sorted(p.name for p in found.folder.iterdir()) == ["card.json", "model.onnx", "model.safetensors"]


def test_bundles_of_format_2_keep_their_hash(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a")
    (tmp_path / "model.safetensors").write_bytes(b"b")
    card = tiny_card(tmp_path).model_copy(update={"format_version": 2})
    # What the last version of that format said; new keys count only where they say something new.
    assert card.hash == "0066e10019942f4eed04b8a7a49a78c6d66930fd6e4589d2e7000636fbf5f3e8"
    assert card.model_copy(update={"members": 2}).hash != card.hash
    shown = card.geometry.model_copy(update={"frame": "car"})
    assert card.model_copy(update={"geometry": shown}).hash != card.hash
    trust = Calibration(temperature=1.5, method="m", photos=50, name_at=0.8, set_at=0.1, error=0.05)
    third = card.model_copy(update={"format_version": 3, "calibration": trust})
    assert third.hash == "ec6e41675454bb58fb4fcb00635fecb3e44a9794d2f2956890f49811ef3447bd"
    knows = trust.model_copy(update={"strange_at": 0.5})
    assert third.model_copy(update={"calibration": knows}).hash != third.hash


def test_a_link_to_the_folder_itself_is_followed(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(tiny_bundle.folder)
    assert read_bundle(tmp_path / "latest").card == tiny_bundle.card


def test_foreign_files_are_noted_and_left_alone(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "curves.png").write_bytes(b"x")
    (tiny_bundle.folder / "notes").mkdir()
    assert read_bundle(tiny_bundle.folder).notes == (
        "'curves.png' is no part of the bundle and was left alone",
        "'notes' is no part of the bundle and was left alone",
    )


# ---- refused: the card ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda c: c.update(format_version=FORMAT_VERSION + 1, novel=1),
            f"is of format {FORMAT_VERSION + 1}, this version reads up to {FORMAT_VERSION}; update carspotter",
        ),
        (lambda c: c.update(novel=1), "novel: Extra inputs are not permitted"),
        (lambda c: c.update({"no\nvel": 1}), r"no\\nvel: Extra inputs"),
        (lambda c: c["recipe"].update(novel=1), r"recipe\.novel: Extra inputs"),
        (lambda c: c.pop("classes"), "classes: Field required"),
        (lambda c: c.pop("format_version"), "format_version: Field required"),
        (lambda c: c.update(codes=["0"]), "3 classes, 3 of them distinct, and 1 codes"),
        (lambda c: c.update(classes=["red", "red", "blue"]), "3 classes, 2 of them distinct"),
        (lambda c: c["geometry"].update(height=10**9), r"geometry\.height: .*less than or equal to 2048"),
        (lambda c: c["files"].pop("model.onnx"), r"names no model\.onnx"),
        (lambda c: c["files"].update({"model.onnx": "abc"}), "has no sha256"),
    ],
)
def test_a_wrong_card_is_refused(tiny_bundle: Bundle, change: Callable[[dict[str, Any]], object], why: str) -> None:
    edit_card(tiny_bundle, change)
    refused(tiny_bundle, why)


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/model.onnx",
        "a/b.onnx",
        "a\\b.onnx",
        "C:b.onnx",
        "..",
        ".hidden.onnx",
        "a\n.onnx",
        "x.json",
    ],
)
def test_a_path_or_another_kind_of_file_in_the_card_is_refused(tiny_bundle: Bundle, name: str) -> None:
    edit_card(tiny_bundle, lambda c: c["files"].update({name: "0" * 64}))
    refused(tiny_bundle, "is refused; expected a plain name")


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"[]", b'{"format_version": 1e99}'])
def test_a_card_that_is_no_card_is_refused(tiny_bundle: Bundle, text: bytes) -> None:
    (tiny_bundle.folder / "card.json").write_bytes(text)
    refused(tiny_bundle, r"card\.json: .*copy the folder again")


def test_a_huge_card_is_refused_unparsed(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.folder / "card.json"
    path.write_bytes(path.read_bytes() + b" " * MAX_CARD_BYTES)
    refused(tiny_bundle, "larger than 16,777,216 bytes")


# ---- refused: the files ---------------------------------------------------------------------------------------------


def test_a_flipped_bit_and_a_truncated_file_are_refused(tiny_bundle: Bundle) -> None:
    for name in tiny_bundle.card.files:
        path = tiny_bundle.folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused(tiny_bundle, f"{name} is damaged or altered")
        path.write_bytes(whole[:-3])
        refused(tiny_bundle, f"{name} is damaged or altered")
        path.write_bytes(whole)
    assert read_bundle(tiny_bundle.folder).hash == tiny_bundle.hash


def test_a_file_that_changes_after_it_was_verified_is_not_handed_out(tiny_bundle: Bundle) -> None:
    found = read_bundle(tiny_bundle.folder)
    (found.folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx is damaged or altered"):
        found.read("model.onnx")
    (found.folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match="cannot read"):
        found.read("model.onnx")


def test_a_missing_file_is_named(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "model.safetensors").unlink()
    refused(tiny_bundle, r"lacks model\.safetensors, which its card names")


@pytest.mark.parametrize(
    "name", ["weights.pt", "Weights.PTH", "head.pkl", "a.pickle", "last.ckpt", "pytorch_model.bin"]
)
def test_a_pickle_in_the_folder_is_refused(tiny_bundle: Bundle, name: str) -> None:
    (tiny_bundle.folder / name).write_bytes(b"")
    refused(tiny_bundle, "a format that can run code; it is refused unread")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "zip"])
def test_a_pickle_under_another_name_is_refused_unread(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int | str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = b"PK\x03\x04" + b"x" * 40 if protocol == "zip" else pickle.dumps(Bomb(), protocol=int(protocol))
    (tiny_bundle.folder / name).write_bytes(data)
    edit_card(tiny_bundle, lambda c: c["files"].update({name: hash_file(tiny_bundle.folder / name)}))
    refused(tiny_bundle, "is a pickle or archive under another name")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("data", [b"", b"\x10", (2**40).to_bytes(8, "little") + b"{}", b"\x02" + b"\0" * 7 + b"[]"])
def test_what_is_no_safetensors_is_refused(tiny_bundle: Bundle, data: bytes) -> None:
    path = tiny_bundle.folder / "model.safetensors"
    path.write_bytes(data)
    edit_card(tiny_bundle, lambda c: c["files"].update({path.name: hash_file(path)}))
    refused(tiny_bundle, "is no safetensors file")


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "readme.txt"])
def test_a_link_in_the_folder_is_refused(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (tiny_bundle.folder / name).unlink(missing_ok=True)
    (tiny_bundle.folder / name).symlink_to(tmp_path / "outside")
    refused(tiny_bundle, f"holds a link, '{name}'")


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "stray"])
def test_a_pipe_is_refused_without_waiting_for_it(tiny_bundle: Bundle, name: str) -> None:
    (tiny_bundle.folder / name).unlink(missing_ok=True)
    os.mkfifo(tiny_bundle.folder / name)
    refused(tiny_bundle, "is no regular file|does not name")


def test_a_model_file_that_the_card_does_not_name_is_refused(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "reference.safetensors").write_bytes(b"")
    refused(tiny_bundle, r"holds 'reference\.safetensors', which its card does not name")


def test_what_is_no_model_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, why in (("absent", "No such file"), ("file", "Not a directory"), ("empty", r"it has no card\.json")):
        with pytest.raises(BundleError, match=f"{name} is no model folder: {why}"):
            read_bundle(tmp_path / name)


# ---- writing --------------------------------------------------------------------------------------------------------


def test_an_older_bundle_is_replaced_and_nothing_is_left_beside(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "m" / "a")
    new = write_tiny_bundle(tmp_path / "m" / "a", ("one", "two", "three"))
    assert read_bundle(tmp_path / "m" / "a").card.classes == ("one", "two", "three")
    assert new.hash == read_bundle(tmp_path / "m" / "a").hash
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["a", "a-parts"]


def test_a_damaged_bundle_may_be_replaced(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "model.onnx").write_bytes(b"damaged")
    write_tiny_bundle(tiny_bundle.folder)
    assert read_bundle(tiny_bundle.folder).hash == tiny_bundle.hash


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert write_tiny_bundle(tmp_path / "a").folder == tmp_path / "a"


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(BundleError, match=r"photos is no model folder \(1 entries\); it is not replaced"):
        write_tiny_bundle(tmp_path / "photos")
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"dear"


def test_a_bundle_with_something_else_in_it_is_not_replaced(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "thesis.docx").write_bytes(b"dear")
    with pytest.raises(BundleError, match=r"also holds 'thesis\.docx', which would be lost"):
        write_tiny_bundle(tiny_bundle.folder)
    assert (tiny_bundle.folder / "thesis.docx").read_bytes() == b"dear"


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_the_working_folder_is_not_replaced_even_when_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(BundleError, match="is the folder you are in, or above it"):
        check_target(name)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that refuses administrators too")
def test_a_folder_that_only_seems_writable_is_found_before_the_work() -> None:
    """An administrator may write to every folder, says the system of /proc, which takes no file."""
    with pytest.raises(BundleError, match=r"cannot write /proc/model: /proc is no folder that may be written to"):
        check_target("/proc/model")


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_a_link_or_file_is_not_replaced(tiny_bundle: Bundle, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_bytes(b"dear")
    else:
        target.symlink_to(tiny_bundle.folder if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is a link or file, not a model folder"):
        write_tiny_bundle(target)


def test_a_file_that_does_not_match_the_card_leaves_the_old_bundle_whole(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "parts")
    card = tiny_card(tmp_path / "parts")
    files["model.onnx"].write_bytes(b"changed since")
    with pytest.raises(BundleError, match=r"model\.onnx is damaged or altered"):
        write_bundle(tiny_bundle.folder, card, files)
    assert read_bundle(tiny_bundle.folder).hash == tiny_bundle.hash
    assert sorted(p.name for p in tiny_bundle.folder.parent.iterdir()) == ["tiny", "tiny-parts"]


def test_files_other_than_the_cards_are_our_fault(tmp_path: Path) -> None:
    files = tiny_files(tmp_path / "parts")
    card = tiny_card(tmp_path / "parts")
    with pytest.raises(ValueError, match=r"the card names .* but \['model\.onnx'\] were given"):
        write_bundle(tmp_path / "a", card, {"model.onnx": files["model.onnx"]})


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    parts = tmp_path / "parts"
    files, card = tiny_files(parts), tiny_card(parts)
    with pytest.raises(BundleError, match=r"cannot write .*file/a: (File exists|Not a directory)"):
        write_bundle(tmp_path / "file" / "a", card, files)


def test_killed_at_any_rename_the_old_or_the_new_bundle_is_whole(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before each of the two renames; what lies there then is whole, and the next write goes through."""
    rename, folder = Path.rename, tiny_bundle.folder
    for allowed in (0, 1):
        left = [allowed]

        def dies(self: Path, target: Path, left: list[int] = left) -> Path:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            write_tiny_bundle(folder, ("one", "two", "three"))
        monkeypatch.setattr(Path, "rename", rename)
        if allowed == 0:
            assert read_bundle(folder).hash == tiny_bundle.hash
            continue
        with pytest.raises(
            BundleError, match=r"interrupted replacement left the older one as .*\.tiny\.old: rename it"
        ):
            read_bundle(folder)
        assert read_bundle(folder.parent / ".tiny.old").hash == tiny_bundle.hash
    write_tiny_bundle(folder, ("one", "two", "three"))
    assert read_bundle(folder).card.classes == ("one", "two", "three")
    assert not (folder.parent / ".tiny.old").exists()


def test_a_refused_second_rename_puts_the_old_bundle_back(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, folder = Path.rename, tiny_bundle.folder

    def full(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BundleError, match="No space left on device"):
        write_tiny_bundle(folder, ("one", "two", "three"))
    assert read_bundle(folder).hash == tiny_bundle.hash


def test_a_leftover_of_a_finished_replacement_is_swept(tiny_bundle: Bundle) -> None:
    shutil.copytree(tiny_bundle.folder, tiny_bundle.folder.parent / ".tiny.old")
    write_tiny_bundle(tiny_bundle.folder)
    assert not (tiny_bundle.folder.parent / ".tiny.old").exists()
