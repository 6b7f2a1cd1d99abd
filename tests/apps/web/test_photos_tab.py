"""The tab of photos in Debian's Chromium, on a server that is short of time and of memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from helpers.browsing import Server, open_page, photo, served
from helpers.tiny import png, write_tiny_bundle

pytestmark = pytest.mark.slow
SHORT = """
from carspotter.apps.web import service
service.PATIENCE, service.MAX_HELD = 1.0, 150_000
from carspotter.apps.cli import main
main()
"""


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits a second for its turn, and holds 150 KB; its model has no linear head."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("short") / "tiny").folder
    with served(str(folder), "--workers", "1", code=SHORT) as found:
        yield found


def test_a_photo_that_nobody_had_time_for_is_tried_again(browser: Browser, short: Server) -> None:
    page, _ = open_page(browser, short.url, "en", 1280)
    (worker,) = short.workers
    os.kill(worker, signal.SIGSTOP)
    try:  # one is at work, two wait, and one is turned away
        for at in range(4):
            page.locator("input[type=file]").first.set_input_files(photo(250, 0, 0, f"{at}.png"))
            page.get_by_role("article").nth(at).wait_for()
        page.get_by_role("article").get_by_text("Too many photos wait already").wait_for()
    finally:
        os.kill(worker, signal.SIGCONT)
    page.get_by_role("button", name="Why?").nth(2).wait_for()  # the other three are answered
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Why?").nth(3).wait_for()
    assert page.get_by_text("It is a red.").count() == 4
    assert page.get_by_text("Looking").count() == 0
    page.context.close()


def test_the_oldest_photos_are_let_go(browser: Browser, short: Server) -> None:
    page, _ = open_page(browser, short.url, "en", 1280)
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    sent = png(noise)
    assert 50_000 < len(sent) < 75_000  # two are held, three are not
    for name in ("first.png", "second.png", "third.png"):
        files = {"name": name, "mimeType": "image/png", "buffer": sent}
        page.locator("input[type=file]").first.set_input_files(files)
        page.get_by_role("article").filter(has_text=name).get_by_role("button", name="Why?").wait_for()
    first = page.get_by_role("article").filter(has_text="first.png")
    first.get_by_text("The photo was let go to make room").wait_for()
    assert page.get_by_role("button", name="Why?").count() == 2
    assert first.locator("img").count() == 1  # its answer stays
    page.context.close()


@pytest.mark.parametrize(("language", "why"), [("en", "Why?"), ("ru", "Почему?")])
def test_where_there_is_no_map_the_page_says_what_to_install(
    browser: Browser, short: Server, language: str, why: str
) -> None:
    page, _ = open_page(browser, short.url, language, 390)
    page.locator("input[type=file]").first.set_input_files(photo(250, 0, 0, "r.png"))
    page.get_by_role("button", name=why).click()
    page.get_by_text('pip install "carspotter[train]"').wait_for()
    page.context.close()
