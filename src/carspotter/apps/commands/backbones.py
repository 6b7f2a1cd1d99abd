"""`backbones`: which networks a training can start from."""

from __future__ import annotations

from carspotter.apps.console import note, table


def backbones() -> None:
    """List backbones: where the weights come from, their licence, commercial use, and whether they are here."""
    from carspotter.training.backbones import backbone_cards, is_here

    columns = ("name", "licence", "commercial", "photo", "here", "from")
    table(
        columns,
        [
            (
                c.known_as or c.name,
                c.licence,
                c.commercial_use,
                f"{c.width}x{c.height}",
                _yes(is_here(c)),
                f"{c.source}: {c.origin}",
            )
            for c in backbone_cards()
        ],
    )
    note("Any other timm model works too: --set backbone=NAME, with --set weights=FILE.safetensors for a local file.")


def _yes(here: bool) -> str:
    return "yes" if here else "no"
