"""What a network has seen is told: exact copies, near ones, and that nothing is known of a file's."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file
from tests.training.test_outside import folder, inside, picture  # noqa: F401 - a fixture
from tests.training.test_train import recipe

from carspotter.data.scan import PhotoFacts, scan
from carspotter.errors import BackboneError
from carspotter.inference.bundle import read_bundle
from carspotter.records import BackboneCard, Dataset
from carspotter.training import seen
from carspotter.training.backbones import RANDOM, find_backbone, load_backbone
from carspotter.training.kept import SEEN, kept_folder
from carspotter.training.seen import HEADER, Seen, seen_by, seen_photos, write_seen
from carspotter.training.train import train


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneCard:
    """Of a backbone of which only the list of seen photos is asked."""
    monkeypatch.setenv("CARSPOTTER_BACKBONES", str(tmp_path / "backbones"))
    (kept_folder() / "mine").mkdir(parents=True)
    random = find_backbone("test_efficientnet", RANDOM)
    return random.model_copy(update={"source": "own", "known_as": "mine", "origin": "somewhere"})


@pytest.fixture
def facts(inside: Dataset) -> tuple[PhotoFacts, ...]:  # noqa: F811
    return scan(inside).facts


@pytest.fixture
def held_out(tmp_path: Path) -> tuple[PhotoFacts, ...]:
    """A copy of a seen photo, one at half the size, one mirrored, and a stranger."""
    half, mirror = picture(1).resize((80, 60)), picture(12).transpose(0)
    pictures = {"same.png": picture(0), "half.jpg": half, "mirror.png": mirror, "new.png": picture(999)}
    return scan(folder(tmp_path / "h", {f"x/{name}": image for name, image in pictures.items()})).facts


def test_exact_and_near_copies_are_counted_apart(
    card: BackboneCard, facts: tuple[PhotoFacts, ...], held_out: tuple[PhotoFacts, ...]
) -> None:
    write_seen(kept_folder() / "mine" / SEEN, Seen.of(facts))
    (told,) = seen_by(card, held_out)
    assert told == (
        "backbone mine: somewhere; 1 of the 4 held-out photos are exact copies of what it has seen, 2 more near copies"
    )


def test_what_is_written_is_read_back_and_bounded(
    card: BackboneCard, facts: tuple[PhotoFacts, ...], held_out: tuple[PhotoFacts, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, all_of_them = kept_folder() / "mine" / SEEN, Seen.of(facts)
    write_seen(path, all_of_them)
    again = seen_photos(card)
    assert again.digests == all_of_them.digests
    assert [(f.digest, f.hash, f.mirror_hash, f.thumb) for f in again.facts] == [
        (f.digest, f.hash, f.mirror_hash, f.thumb) for f in all_of_them.facts
    ]
    monkeypatch.setattr(seen, "MAX_PICTURES", 3)
    write_seen(path, all_of_them)
    assert seen_photos(card).digests == all_of_them.digests
    assert len(seen_photos(card).facts) == 3
    assert seen_by(card, held_out)[0].endswith("near copies (looked for among 3 of 16)")


def test_a_list_of_the_first_version_still_tells_exact_copies(
    card: BackboneCard, facts: tuple[PhotoFacts, ...], held_out: tuple[PhotoFacts, ...]
) -> None:
    (kept_folder() / "mine" / SEEN).write_text("\n".join(sorted(fact.digest for fact in facts)) + "\n")
    (told,) = seen_by(card, held_out)
    assert "1 of the 4 held-out photos are exact copies" in told
    assert told.endswith("near copies cannot be told: an older version kept digests alone")


def test_both_generations_are_kept(facts: tuple[PhotoFacts, ...], held_out: tuple[PhotoFacts, ...]) -> None:
    """Of a parent that an older version made, the digests."""
    both = Seen.of(facts[:2]).and_also(Seen(frozenset({"0" * 64}), held_out[:1]))
    assert both.digests == {"0" * 64, facts[0].digest, facts[1].digest}
    assert {fact.digest for fact in both.facts} == {facts[0].digest, facts[1].digest, held_out[0].digest}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("carspotter seen 3\n", "a newer version wrote it"),
        (f"{HEADER}\nabc 1 2 AAAA\n", "the line of abc is damaged"),
        (f"{HEADER}\nabc 1 2 ä\n", "cannot tell what mine has seen"),
        (f"{HEADER}\nabc zz 2 {'A' * 3072}\n", "the line of abc is damaged"),
        (f"{HEADER}\n{'a' * 64} {'f' * 17} {'0' * 16} {'A' * 3072}\n", "the line of aaaa.* is damaged"),
        (f"{HEADER}\n{'a' * 64} {'-1':>16} {'0' * 16} {'A' * 3072}\n", "the line of aaaa.* is damaged"),
        (f"{HEADER}\nabc {'0' * 16} {'0' * 16} {'A' * 3072}\n", "the line of abc is damaged"),
        (f"{HEADER}\nabc 1 2 3 4\n", "the line of abc is damaged"),
    ],
)
def test_a_damaged_list_is_one_clear_line(text: str, why: str, card: BackboneCard) -> None:
    (kept_folder() / "mine" / SEEN).write_text(text, encoding="utf-8")
    with pytest.raises(BackboneError, match=why) as raised:
        seen_photos(card)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("runs_db")
def test_weights_from_a_file_are_told_as_outside_data(inside: Dataset, tmp_path: Path) -> None:  # noqa: F811
    net, _ = load_backbone(find_backbone("test_efficientnet", RANDOM), height=64, width=64)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    run = train(inside, recipe(weights=str(tmp_path / "w.safetensors")), out=tmp_path / "m")
    (told,) = read_bundle(tmp_path / "m").card.outside
    assert run.extra == (told,)
    assert "weights w.safetensors (sha256 " in told
    assert "what they were trained on is not known" in told
    assert str(tmp_path) not in told
