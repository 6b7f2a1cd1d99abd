"""The page in Debian's Chromium, through a real server: both languages, a desktop and a phone."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from helpers.absent import absent
from helpers.tiny import colour_photo, write_tiny_bundle

pytestmark = pytest.mark.slow
PATIENCE = 60_000  # milliseconds; two shared cores, a browser and a server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("no Chromium: apt-get install chromium", "CARSPOTTER_REQUIRE_SERVERS")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").folder
    command = [sys.executable, "-m", "carspotter", "serve", str(folder), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found
        yield found[0]
        server.terminate()
        server.wait(60)


def open_page(browser: Browser, url: str, language: str, width: int) -> tuple[Page, list[str]]:
    """A page, and what it asks of anybody else."""
    page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
    page.set_default_timeout(PATIENCE)
    outside: list[str] = []
    ours = (url, url.replace("http", "ws", 1), "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(ours) else outside.append(asked.url))
    page.goto(f"{url}/?lang={language}")
    page.wait_for_selector("input[type=file]", state="attached")
    page.wait_for_function("window.carspotterPaste === true")  # it talks to the server by now
    return page, outside


def photo(red: int, green: int, blue: int, name: str) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": colour_photo(red, green, blue)}


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("ru", 390)])
def test_a_manager_s_day(browser: Browser, url: str, language: str, width: int) -> None:
    russian = language == "ru"
    page, outside = open_page(browser, url, language, width)
    assert page.evaluate("document.documentElement.lang") == language
    page.locator("input[type=file]").first.set_input_files(
        [photo(250, 0, 0, "r.png"), {"name": "<b>x</b>.png", "mimeType": "image/png", "buffer": b"no photo"}]
    )
    page.get_by_text("Это red." if russian else "It is a red.").wait_for()
    page.get_by_text("Этот снимок не годится." if russian else "This photo cannot be used.").wait_for()
    assert page.locator("b", has_text="x").count() == 0  # a file's name is no markup
    assert page.locator(".answers img").count() == 1
    page.get_by_role("button", name="Почему?" if russian else "Why?").click()
    page.get_by_text("carspotter[train]").wait_for()  # the tiny net's head lies nowhere as rows

    page.get_by_role("tab").nth(1).click()
    page.get_by_role("button", name="Проверить" if russian else "Check", exact=True).click()
    page.get_by_text("Укажите модель из объявления." if russian else "Name the model that the ad declares.").wait_for()
    page.get_by_label("Заявленная модель" if russian else "Declared model").fill("blue")
    page.locator(".takes-photos input[type=file]").last.set_input_files([photo(250, 0, 0, "r.png")])
    page.get_by_text("Снимки: 1" if russian else "Photos: 1", exact=True).wait_for()
    page.get_by_role("button", name="Проверить" if russian else "Check", exact=True).click()
    page.get_by_text("На снимках другая модель." if russian else "The photos show another model.").wait_for()

    page.get_by_role("tab").nth(2).click()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("r.png", colour_photo(250, 0, 0))
    table = b"model,photos\nblue,r.png\nred,r.png\n"
    page.locator("input[accept*=csv]").set_input_files({"name": "ads.csv", "mimeType": "text/csv", "buffer": table})
    page.get_by_label("Заявленная модель" if russian else "Declared model").last.wait_for()
    page.locator("input[accept*=zip]").set_input_files(
        {"name": "p.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    )
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Проверить партию" if russian else "Check the lot").click()
    page.get_by_text("mismatch").wait_for()
    with page.expect_download() as waited:
        page.get_by_role("button", name="Скачать таблицу" if russian else "Download the table").click()
    written = Path(waited.value.path()).read_text(encoding="utf-8-sig")
    assert written.splitlines()[0].startswith("model,photos,verdict")
    assert len(written.splitlines()) == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out sideways
    assert outside == []
    page.context.close()
