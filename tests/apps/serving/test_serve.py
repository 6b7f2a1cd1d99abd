"""The command `serve`, as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.apps.serving.conftest import wait_until

from carspotter.apps.cli import main
from carspotter.apps.commands.serve import _photos
from carspotter.apps.serving.server import listen
from helpers.tiny import colour_photo, write_tiny_bundle


@pytest.mark.slow
def test_it_answers_and_ends_in_order(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    command = [sys.executable, "-m", "carspotter", "serve", str(folder), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"tiny at (http://127\.0\.0\.1:\d+), described at", line)
            assert found, line
            url = found[1]

            def ready() -> bool:
                try:
                    return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(ready)
            answer = httpx.post(f"{url}/v1/identify", files={"photos": ("r.png", colour_photo(250, 0, 0))}, timeout=60)
            assert answer.json()["answers"][0]["label"] == "red"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) in {0, 143}


def test_what_cannot_be_served_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    assert main(["serve", str(tmp_path / "absent")]) == 2
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(folder), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    for token in ("short", "two words that are long", "кириллица-кириллица"):
        (tmp_path / "token").write_text(token, encoding="utf-8")
        assert main(["serve", str(folder), "--token-file", str(tmp_path / "token")]) == 2
        assert "one word of 16 or more printable ASCII" in capsys.readouterr().err
    assert main(["serve", str(folder), "--token-file", str(tmp_path / "no")]) == 2


def test_what_cannot_be_shown_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cars" / "red").mkdir(parents=True)
    (tmp_path / "cars" / "red" / "1.png").write_bytes(colour_photo(250, 0, 0))
    found = _photos(
        tmp_path / "cars", {"new": ("red/1.png", "red/2.png"), "old": (), "same": ("red/1.png",)}, shared=True
    )
    assert [photo.id for photo in found.photos] == ["red/1.png"]
    assert capsys.readouterr().err.splitlines() == [
        f"1 of the 2 training photos that new remembers are not in {tmp_path / 'cars'}",
        "old remembers no training photos, so none will be shown; train it again to have them",
        "every visitor will be shown training photos, as --photos asks",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--api-only", "--photos", "cars"], "for the page; a token or --api-only leaves it out"),
        (["--decisions", "d.csv"], "--decisions belongs to --findings"),
        (["--findings", "f.csv"], "--findings needs --photos"),
        (["--photos", "absent"], "absent"),
    ],
)
def test_options_of_the_page(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    assert main(["serve", str(folder), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
