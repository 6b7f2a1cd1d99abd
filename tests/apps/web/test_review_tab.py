"""The tab of a review in Debian's Chromium: what is decided, by which key, and where the visitor is then."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from carspotter.tracking.decisions import read_decisions
from helpers.browsing import foreign_words, open_page, reload

pytestmark = pytest.mark.slow
IN_SIGHT = """
const card = document.querySelector('[aria-current=true][role=article]'), seen = card.getBoundingClientRect();
const head = document.querySelector('header').getBoundingClientRect();
return document.activeElement === card && seen.top >= head.bottom && seen.bottom <= innerHeight;
"""
"""Whether the card where the visitor is has the focus, and lies below the page's head and above the window's end."""


@pytest.fixture
def decisions(place: Path) -> Path:
    """The table of decisions, without any."""
    (place / "decisions.csv").unlink(missing_ok=True)
    return place / "decisions.csv"


def open_review(browser: Browser, url: str, width: int = 1280) -> tuple[Page, list[str]]:
    """The tab with its keys on."""
    page, outside = open_page(browser, url, "en", width)
    to_review(page)
    return page, outside


def to_review(page: Page) -> None:
    page.get_by_role("tab", name="Review").click()
    page.get_by_text("Keys: N, P").wait_for()


def wait_for_current(page: Page, *texts: str) -> None:
    """Until the visitor is at a card with some texts, and sees it."""
    card = page.locator("[aria-current=true][role=article]")
    for text in texts:
        card = card.filter(has_text=text)
    card.wait_for()
    page.wait_for_function(f"() => {{{IN_SIGHT}}}")


def test_a_review_survives_a_reload(browser: Browser, url: str, decisions: Path) -> None:
    page, outside = open_review(browser, url)
    page.keyboard.press("r")  # as suggested
    wait_for_current(page, "near copy")
    page.keyboard.press("d")
    page.get_by_text("2 of 17 decided").wait_for()
    made = [(d.id, d.decision.value, d.label, d.who) for d in read_decisions(decisions)]
    assert made == [("red/2.png", "relabel", "blue", "the manager"), ("red/1.png", "drop", "", "the manager")]
    reload(page)
    to_review(page)
    page.get_by_text("2 of 17 decided").wait_for()
    page.keyboard.press("n")
    wait_for_current(page, "near copy", "dropped")
    page.keyboard.press("u")  # of another visit: what is shown
    page.get_by_text("1 of 17 decided").wait_for()
    assert [d.id for d in read_decisions(decisions)] == ["red/2.png"]
    copies = page.get_by_role("article").nth(1)
    copies.get_by_role("button", name="Keep").click()
    copies.get_by_text("kept").wait_for()
    copies.locator("img").nth(1).wait_for()  # pictures come one by one
    assert copies.locator("img").count() == 2  # a copy beside its original
    assert outside == []
    page.context.close()


def test_keys_decide_nothing_on_other_tabs(browser: Browser, url: str, decisions: Path) -> None:
    page, _ = open_review(browser, url)
    page.get_by_role("tab", name="Lot").click()
    page.get_by_role("button", name="Check the lot").wait_for()
    page.keyboard.press("d")  # the focus is on the tab
    to_review(page)
    page.keyboard.press("k")
    page.get_by_role("article").first.get_by_text("kept").wait_for()
    assert [(d.id, d.decision.value) for d in read_decisions(decisions)] == [("red/2.png", "keep")]
    page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_current_card_is_in_sight_and_undo_goes_back_to_the_latest(
    browser: Browser, url: str, decisions: Path, width: int
) -> None:
    page, _ = open_review(browser, url, width)
    for _ in range(12):  # a page of findings
        page.keyboard.press("k")
    wait_for_current(page, "of an odd shape", "red/2.png")  # the first of the next page
    assert len(read_decisions(decisions)) == 12
    page.keyboard.press("u")
    wait_for_current(page, "of an odd shape", "red/1.png")
    page.keyboard.press("n")
    wait_for_current(page, "of an odd shape", "red/2.png")
    page.keyboard.press("u")  # the latest that still stands, wherever the visitor is
    wait_for_current(page, "tiny", "blue/3.png")
    assert [(d.id, d.kind.value) for d in read_decisions(decisions)][-1] == ("red/2.png", "tiny")
    page.get_by_role("combobox", name="Kind of finding").click()
    page.get_by_role("option", name="near copy").click()
    page.get_by_role("article").nth(1).wait_for(state="hidden")
    page.keyboard.press("Tab")  # off the list, which takes keys for itself
    page.keyboard.press("u")
    wait_for_current(page, "tiny", "red/2.png")  # though others were chosen
    assert len(read_decisions(decisions)) == 9
    page.context.close()


def test_a_russian_review_is_russian(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "ru", 1280)
    page.get_by_role("tab", name="Разбор").click()
    page.get_by_text("red: возможно, неверная метка").wait_for()
    card = page.get_by_role("article").first
    card.get_by_role("button", name="Оставить").click()
    card.get_by_text("оставлено").wait_for()
    page.locator(".answers:visible img").nth(2).wait_for()
    assert foreign_words(page) == []
    card.get_by_role("button", name="Отменить").click()
    card.get_by_text("оставлено").wait_for(state="hidden")
    page.context.close()


def test_keys_are_switched_off_for_good(browser: Browser, url: str, decisions: Path) -> None:
    page, _ = open_review(browser, url)
    page.get_by_role("switch", name="Keys decide").click()
    page.get_by_text("Keys: N, P").wait_for(state="hidden")
    page.keyboard.press("d")
    reload(page)
    page.get_by_role("tab", name="Review").click()
    switch = page.get_by_role("switch", name="Keys decide")
    switch.wait_for()
    page.wait_for_timeout(1000)  # in which they would have been switched on
    assert switch.get_attribute("aria-checked") == "false"
    page.keyboard.press("d")
    switch.click()
    page.get_by_text("Keys: N, P").wait_for()
    page.keyboard.press("k")  # after it, what the others did would be there
    page.get_by_role("article").first.get_by_text("kept").wait_for()
    assert [(d.id, d.decision.value) for d in read_decisions(decisions)] == [("red/2.png", "keep")]
    page.context.close()
