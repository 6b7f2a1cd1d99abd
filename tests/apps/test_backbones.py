"""`backbones` tells where weights come from and whether they are here."""

from __future__ import annotations

import pytest

from carspotter.apps.cli import main


def test_packaged_backbones_are_here_with_licence_and_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones"]) == 0
    header, *lines = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    cards = {cells[0]: dict(zip(header, cells, strict=True)) for cells in lines}
    for number in range(3):
        card = cards[f"tf_efficientnet_lite{number}"]
        assert (card["licence"], card["commercial"], card["here"]) == ("Apache-2.0", "yes", "yes")
    assert cards["legacy_xception"]["from"].startswith("hub: ")
