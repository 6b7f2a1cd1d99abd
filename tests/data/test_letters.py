from __future__ import annotations

import importlib.util

import pytest
from PIL import ImageFont

from carspotter.data.letters import find_pen, spelled


def test_cyrillic_is_drawn_or_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    pen = find_pen()
    if importlib.util.find_spec("matplotlib") is not None:
        assert isinstance(pen.font, ImageFont.FreeTypeFont)
        assert pen.font.getname()[0] == "DejaVu Sans"
        assert pen.fit("Лада×") == "Лада×"

    def none_found(*_: object) -> ImageFont.FreeTypeFont:
        raise OSError("no font")

    default = ImageFont.load_default(13)
    monkeypatch.setattr(ImageFont, "truetype", none_found)
    monkeypatch.setattr(ImageFont, "load_default", lambda size: default)
    assert find_pen().fit("Лада Жигули Ёж 640×480") == "Lada Zhiguli Yozh 640x480"


def test_spelled() -> None:
    assert spelled("абвгдеёжзийклмнопрстуфхцчшщъыьэюя") == "abvgdeyozhziyklmnoprstufkhtschshshchyeyuya"
    assert spelled("Щука Café № 車") == "Shchuka Cafe No ?"
