"""What the pages show can be seen by weak eyes: contrast by WCAG 2.1, on light and on dark."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from carspotter.data.source import read_source
from carspotter.evaluation.audit_page import audit_page
from carspotter.evaluation.judging import judge, sort_by
from carspotter.evaluation.report_page import report_page
from carspotter.records import Finding, Kind, Scores
from helpers.browsing import listing_photos, open_page, photo
from helpers.contrast import Shown, contrast, everything_shown, too_faint
from helpers.tiny import colour_photo

pytestmark = pytest.mark.slow
SCHEMES = ("light", "dark")


def all_faint(page: Page, expected: int) -> list[tuple[str, Shown]]:
    """Of at least `expected` things, in either scheme; the page must follow it."""
    found: list[tuple[str, Shown]] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_function(f"document.body.classList.contains('body--dark') === {str(scheme == 'dark').lower()}")
        found += [(scheme, one) for one in too_faint(page, scheme, expected)]
    return found


def test_the_measure_is_that_of_wcag(browser: Browser) -> None:
    """Published pairs, and colours in every notation, thinned out by groups and by themselves."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.005)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)
    page = browser.new_page()
    page.set_content(
        "<style>:root{color-scheme:light dark}</style><p>plain</p>"
        "<p style='color:#777'>grey</p><p style='color:#777;font-size:24px'>large grey</p>"
        "<p style='color:rgb(0 0 0/.5)'>half</p><div style='opacity:.5'><p style='color:black'>thin</p></div>"
        "<div style='background:black'><p style='color:oklch(1 0 0)'>white</p></div>"
        "<button disabled style='color:#eee'>dead</button><p hidden>hidden</p><input placeholder='faint' size=9>"
        "<svg role=img width=9 height=9><circle r=4 fill='#ccc' stroke='none'/></svg>"
    )
    shown = {one.said: one for one in everything_shown(page, "light")}
    assert shown.keys() == {"plain", "grey", "large grey", "half", "thin", "white", "faint", "circle"}
    assert [one.said for one in shown.values() if not one.enough] == ["grey", "half", "thin", "circle"]
    assert shown["plain"].contrast == shown["white"].contrast == pytest.approx(21)
    assert shown["half"].ink == pytest.approx((127, 127, 127), abs=1)
    assert shown["thin"].ink == pytest.approx(shown["half"].ink, abs=1)
    dark = {one.said: one for one in everything_shown(page, "dark")}
    assert dark["plain"].contrast > 15
    assert dark["half"].contrast < 1.2
    page.close()


def test_every_tab_can_be_read_on_light_and_on_dark(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "en", 1280)
    page.locator("input[type=file]").first.set_input_files(
        [photo(250, 0, 0, "r.png"), {"name": "x.png", "mimeType": "image/png", "buffer": b"no photo"}]
    )
    page.get_by_text("It is a red.").wait_for()
    page.get_by_text("This photo cannot be used.").wait_for()
    page.get_by_role("button", name="Why?").click()
    page.get_by_alt_text("Where the net saw it").wait_for()
    assert all_faint(page, 25) == []

    page.get_by_role("tab", name="Listing").click()
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_text("Name the model that the ad declares.").wait_for()  # a fault, shown for a while
    page.get_by_label("Declared model").fill("blue")
    listing_photos(page).set_input_files([photo(250, 0, 0, "r.png")])
    page.get_by_text("Photos: 1", exact=True).wait_for()
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_text("The photos show another model.").wait_for()
    assert all_faint(page, 15) == []

    page.get_by_role("tab", name="Lot").click()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("r.png", colour_photo(250, 0, 0))
    table = b"model,photos\nblue,r.png\nred,r.png\n"
    page.locator("input[accept*=csv]").set_input_files({"name": "ads.csv", "mimeType": "text/csv", "buffer": table})
    page.get_by_text("ads.csv, ads: 2").wait_for()
    page.locator("input[accept*=zip]").set_input_files(
        {"name": "p.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    )
    page.get_by_text("p.zip, 0.0").wait_for()
    page.get_by_role("button", name="Check the lot").click()
    page.get_by_text("mismatch").wait_for()
    assert all_faint(page, 25) == []

    page.get_by_role("tab", name="Review").click()
    page.locator(".answers img:visible").first.wait_for()
    assert all_faint(page, 60) == []

    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("button", name="Show the runs").click()
    page.locator(".q-table:visible tbody tr").nth(1).wait_for()
    page.locator(".q-table:visible tbody tr").first.get_by_role("checkbox").click()
    assert all_faint(page, 25) == []
    page.context.close()


def pages(place: Path) -> dict[str, str]:
    """A report and an audit of the three photos, with everything that such pages may hold."""
    photos = read_source(place / "set")
    truth, by_id = photos.labels, {one.id: one for one in photos.photos}
    logits = np.array([[0.0, 3.0], [0.0, 3.0], [0.0, 0.5]], np.float32)  # all of blue wrong, all of red right
    scores = Scores(tuple(by_id), logits, np.zeros((3, 1), np.float32))
    kinds = {"dark": np.array([True, False, False])}
    judged = sort_by(judge(scores, truth, photos.classes, None), kinds)
    findings = [
        Finding(id=name, kind=kind, score=0.1, is_issue=True, why="as drawn", suggestion="blue/3.png")
        for kind in Kind
        for name in by_id
    ]
    shown = {("", name): one for name, one in by_id.items() if name != "red/1.png"}  # of one there is no photo
    return {
        "report": report_page("tiny", ["A note."], judged, by_id),
        "audit": audit_page("set", ["A note."], findings, shown),
    }


@pytest.mark.parametrize(("name", "expected"), [("report", 60), ("audit", 90)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_written_pages_can_be_read(
    browser: Browser, place: Path, tmp_path: Path, name: str, expected: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(pages(place)[name], encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert too_faint(page, scheme, expected) == []
    page.close()
