"""Backbones of one's own: what a training on many cars leaves for other trainings to start from.

One folder per name: `card.json` (where the weights come from and what they have seen), `backbone.safetensors`, and
`seen.txt` (see `seen.py`), what tells the photos that trained them, so that a later training can say whether copies of
its held-out photos are among them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import timm
from pydantic import ValidationError
from safetensors.torch import load, save

from carspotter.data.disk import hash_file, read_capped, sync
from carspotter.data.wording import cause
from carspotter.errors import BackboneError, SourceError
from carspotter.inference.bundle import WEIGHTS, Bundle
from carspotter.records import BackboneCard

CARD, NET, SEEN = "card.json", "backbone.safetensors", "seen.txt"
MAX_CARD_BYTES = 2**20
"""Assumption: a card is some hundred bytes."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_INSIDE = "body.backbone."


def kept_folder() -> Path:
    """Where own backbones lie: $CARSPOTTER_BACKBONES, else the user's data folder."""
    if own := os.environ.get("CARSPOTTER_BACKBONES"):
        return Path(own)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "carspotter" / "backbones"


def kept_card(name: str) -> BackboneCard | None:
    """The card of an own backbone, or None where there is none of this name.

    Raises:
        BackboneError: its card is damaged.
    """
    path = kept_folder() / name / CARD
    if not _PLAIN_NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        card = BackboneCard.model_validate_json(read_capped(path, MAX_CARD_BYTES))
        _must_be_ours(card, name)
    except (ValidationError, SourceError) as fault:
        first = str(fault).splitlines()[0]
        raise BackboneError(f"{path}: damaged ({first}); make it again with `carspotter pretrain`") from None
    return card


def _must_be_ours(card: BackboneCard, name: str) -> None:
    """A card is not believed where it could lead elsewhere: to another folder, another source, or a fetched network."""
    if (card.source, card.known_as) != ("own", name) or not timm.is_model(card.name) or min(card.std) <= 0:
        raise SourceError(f"it tells of {card.known_as!r} from {card.source} with the network {card.name!r}")


def kept_cards() -> tuple[BackboneCard, ...]:
    """All own backbones, by name; damaged ones are left out."""
    found = []
    folder = kept_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            card = kept_card(path.name)
        except BackboneError:
            continue
        if card is not None:
            found.append(card)
    return tuple(found)


def kept_weights(card: BackboneCard) -> Path:
    """The weight file of an own backbone, verified.

    Raises:
        BackboneError: gone, or not the one its card tells of.
    """
    path = kept_folder() / card.known_as / NET
    try:
        digest = hash_file(path)
    except OSError as fault:
        raise BackboneError(f"cannot read {path}: {cause(fault)}; make it with `carspotter pretrain`") from None
    if digest != card.sha256:
        raise BackboneError(f"{path} is not the file its card tells of (sha256); make it again or restore it")
    return path


def check_name(name: str) -> None:
    """Refuse a name before hours of work.

    Raises:
        BackboneError: it is taken, one of timm's, or no plain name.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise BackboneError(f"{name!r} is no name for a backbone; use letters, digits, '-', '_' and '.'")
    if timm.is_model(name):
        raise BackboneError(f"{name!r} is the name of one of timm's networks; choose another")
    if (kept_folder() / name).exists():
        raise BackboneError(
            f"there is a backbone {name!r} in {kept_folder()} already; choose another name or remove it"
        )


def keep_backbone(bundle: Bundle, name: str, *, trained_on: str, tell: Callable[[Path], None]) -> BackboneCard:
    """Keep the backbone of a trained bundle under a name.

    Args:
        bundle: of a classifier trained here.
        name: for `--set backbone=NAME`.
        trained_on: a sentence: data, how many photos and classes, where they come from.
        tell: writes the list of what it has seen to this path.

    Raises:
        BackboneError: the name is taken, or the folder cannot be written.
    """
    check_name(name)
    state = {key: value for key, value in load(bundle.read(WEIGHTS)).items() if key.startswith(_INSIDE)}
    folder = kept_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as place:
            fresh = Path(place) / name
            fresh.mkdir()
            (fresh / NET).write_bytes(save({key.removeprefix(_INSIDE): value for key, value in state.items()}))
            tell(fresh / SEEN)
            card = _card(bundle, name, trained_on, hash_file(fresh / NET))
            (fresh / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")
            for file in fresh.iterdir():
                sync(file)
            fresh.rename(folder / name)
            sync(folder)
    except OSError as fault:
        raise BackboneError(f"cannot write {folder / name}: {cause(fault)}; set CARSPOTTER_BACKBONES") from None
    return card


def _card(bundle: Bundle, name: str, trained_on: str, sha256: str) -> BackboneCard:
    parent, geometry = bundle.card.backbone, bundle.card.geometry
    history = f"{parent.known_as or parent.name} ({parent.origin}), then {trained_on}"
    return parent.model_copy(
        update={
            "known_as": name,
            "source": "own",
            "origin": history,
            "sha256": sha256,
            "licence": f"weights {parent.licence}; data as stated",
            # Whether weights may be used commercially where the photos were not is for a lawyer to say.
            "commercial_use": "no" if parent.commercial_use == "no" else "unclear",
            "height": geometry.height,
            "width": geometry.width,
        }
    )
