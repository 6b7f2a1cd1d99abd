"""The tab of runs in Debian's Chromium: a table, and curves of chosen runs."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from helpers.browsing import foreign_words, open_page

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("ru", 390)])
def test_runs_are_listed_best_first_and_curves_drawn(browser: Browser, url: str, language: str, width: int) -> None:
    russian = language == "ru"
    page, outside = open_page(browser, url, language, width)
    page.get_by_role("tab", name="Запуски" if russian else "Runs").click()
    page.get_by_role("button", name="Показать запуски" if russian else "Show the runs").click()
    rows = page.locator(".q-table tbody tr")
    rows.nth(1).wait_for()
    assert ["run-a" in rows.nth(at).inner_text() for at in range(2)] == [True, False]
    assert ("лучший" if russian else "best") in rows.first.inner_text()
    for at in range(2):
        rows.nth(at).get_by_role("checkbox").click()
    page.get_by_role("button", name="Кривые выбранных запусков" if russian else "Curves of the chosen runs").click()
    curves = page.get_by_alt_text("Кривые выбранных запусков" if russian else "Curves of the chosen runs")
    curves.wait_for()
    assert curves.evaluate("picture => picture.naturalWidth") > 300
    if russian:
        assert [said for said in foreign_words(page) if said not in {"run-a", "run-b", "a" * 8, "b" * 8}] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert outside == []
    page.context.close()
