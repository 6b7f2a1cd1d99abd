"""The page in Debian's Chromium, through a real server: both languages, a desktop and a phone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from helpers.browsing import PATIENCE, foreign_words, listing_photos, open_page, photo
from helpers.tiny import colour_photo

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("ru", 390)])
def test_a_manager_s_day(browser: Browser, url: str, language: str, width: int) -> None:
    russian = language == "ru"
    page, outside = open_page(browser, url, language, width)
    assert page.evaluate("document.documentElement.lang.slice(0, 2)") == language
    wrong = page.request.get(f"{url}/v1/identify")  # the page, mounted below /, does not answer for the API
    assert (wrong.status, wrong.json()["error"]["code"]) == (405, "method")
    page.locator("input[type=file]").first.set_input_files(
        [photo(250, 0, 0, "r.png"), {"name": "<b>x</b>.png", "mimeType": "image/png", "buffer": b"no photo"}]
    )
    page.get_by_text("Это red." if russian else "It is a red.").wait_for()
    page.get_by_text("Этот снимок не годится." if russian else "This photo cannot be used.").wait_for()
    assert page.locator("b", has_text="x").count() == 0  # a file's name is no markup
    page.locator(".answers img").wait_for()  # the picture comes after the answer
    assert page.locator(".answers img").count() == 1
    page.get_by_role("button", name="Почему?" if russian else "Why?").click()
    page.get_by_alt_text("Где сеть это увидела" if russian else "Where the net saw it").wait_for()
    like = page.locator(".like img")  # both that trained as red; of the runner-up, green, there is none
    page.get_by_text("Похожие снимки из обучения: red" if russian else "Training photos of red").wait_for()
    assert like.count() == 2
    assert page.evaluate("[...document.querySelectorAll('.like')].every(one => one.scrollWidth <= one.clientWidth)")
    assert all(like.nth(at).get_attribute("src").startswith("data:image/jpeg") for at in range(2))

    page.get_by_role("tab").nth(1).click()
    page.get_by_role("button", name="Проверить" if russian else "Check", exact=True).click()
    page.get_by_text("Укажите модель из объявления." if russian else "Name the model that the ad declares.").wait_for()
    page.get_by_label("Заявленная модель" if russian else "Declared model").fill("blue")
    listing_photos(page).set_input_files([photo(250, 0, 0, "r.png")])
    page.get_by_text("Снимки: 1" if russian else "Photos: 1", exact=True).wait_for()
    page.get_by_role("button", name="Проверить" if russian else "Check", exact=True).click()
    page.get_by_text("На снимках другая модель." if russian else "The photos show another model.").wait_for()

    page.get_by_role("tab").nth(2).click()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("r.png", colour_photo(250, 0, 0))
    table = b"model,photos\nblue,r.png\nred,r.png\n"
    page.locator("input[accept*=csv]").set_input_files({"name": "ads.csv", "mimeType": "text/csv", "buffer": table})
    page.get_by_text("ads.csv, объявлений: 2" if russian else "ads.csv, ads: 2").wait_for()
    page.locator("input[accept*=zip]").set_input_files(
        {"name": "p.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    )
    page.get_by_text("p.zip, 0.0").wait_for()
    page.get_by_role("button", name="Проверить партию" if russian else "Check the lot").click()
    page.get_by_text("не совпадает" if russian else "mismatch").wait_for()
    heads = page.locator(".q-table th:visible").all_inner_texts()
    seen = [head.removesuffix("arrow_upward").strip() for head in heads]  # the sign by which it is sorted
    assert [seen[0], seen[1], seen[-1]] == ["model", "вердикт" if russian else "verdict", "photos"]
    with page.expect_download() as waited:
        page.get_by_role("button", name="Скачать таблицу" if russian else "Download the table").click()
    written = Path(waited.value.path()).read_text(encoding="utf-8-sig")
    assert written.splitlines()[0].startswith("model,photos,verdict")
    assert len(written.splitlines()) == 3
    if russian:
        assert foreign_words(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out sideways
    assert outside == []
    page.context.close()


def test_files_are_chosen_by_a_button_dropped_and_pasted(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "en", 1280)
    with page.expect_file_chooser() as waited:
        page.get_by_role("button", name="Drop photos here, paste them, or choose").press("Enter")
    waited.value.set_files([photo(250, 0, 0, "chosen.png")])
    page.get_by_role("article").filter(has_text="chosen.png").get_by_text("It is a red.").wait_for()
    given = """name => {
        const data = new DataTransfer(), picture = document.createElement('canvas');
        picture.width = picture.height = 40;
        const bytes = Uint8Array.from(atob(picture.toDataURL('image/png').split(',')[1]), c => c.charCodeAt(0));
        data.items.add(new File([bytes], name, {type: 'image/png'}));
        return data;
    }"""
    page.evaluate(f"document.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: ({given})('pasted.png')}}))")
    page.get_by_role("article").filter(has_text="pasted.png").get_by_role("button", name="Why?").wait_for()
    page.locator(".q-uploader .q-spinner").wait_for(state="hidden")  # while it sends, nothing can be dropped
    page.locator(".takes-photos:visible").dispatch_event("dragover")
    dropped = page.evaluate_handle(f"({given})('dropped.png')")
    page.locator(".q-uploader__dnd").dispatch_event("drop", {"dataTransfer": dropped})
    page.get_by_role("article").filter(has_text="dropped.png").get_by_role("button", name="Why?").wait_for()
    page.context.close()


def test_what_is_not_taken_is_named_with_the_reason(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "en", 1280)
    page.locator("input[type=file]").first.set_input_files(
        {"name": "ad.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}
    )
    page.get_by_text("ad.pdf: not taken here; JPEG, PNG, WEBP are.").wait_for()
    page.route("**/upload/*", lambda route: route.abort())  # as when a phone loses its net
    page.locator("input[type=file]").first.set_input_files(photo(250, 0, 0, "lost.png"))
    page.get_by_text("lost.png: did not arrive").wait_for()
    page.unroute("**/upload/*")
    page.get_by_role("tab", name="Listing").click()
    many = listing_photos(page)
    many.set_input_files([photo(250, 0, 0, f"{at}.png") for at in range(51)])
    page.get_by_text("50.png: left out; 50 files are taken at a time.").wait_for()
    page.get_by_text("Photos: 50", exact=True).wait_for()
    page.locator(".q-uploader .q-spinner").wait_for(state="hidden")  # until then it has no room for more
    many.set_input_files([photo(250, 0, 0, "one.png"), photo(250, 0, 0, "two.png")])
    page.get_by_text("Photos: 50. Left out, an ad may have 50: 2").wait_for()
    page.get_by_role("tab", name="Lot").click()
    large = {"name": "ads.csv", "mimeType": "text/csv", "buffer": b"x" * (11 * 2**20)}
    page.locator("input[accept*=csv]").set_input_files(large)
    page.get_by_text("ads.csv: too large; a file may have 10 MB.").wait_for()
    page.context.close()


def test_a_russian_reader_is_told_in_russian_what_is_wrong_with_his_files(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "ru", 390)
    page.get_by_role("tab", name="Партия").click()
    for table in (b"model,photos\nred\n", b"PK\3\4 no workbook"):
        page.locator("input[accept*=csv]").set_input_files({"name": "ads.csv", "mimeType": "text/csv", "buffer": table})
        said = page.get_by_role("alert").filter(has_text="ads.csv: такую таблицу не прочесть")
        said.wait_for()
        page.locator(".q-notification[lang=en]").first.wait_for()  # the details
        assert foreign_words(page) == []
        said.wait_for(state="hidden")
    page.locator("input[accept*=csv]").set_input_files(
        {"name": "ads.csv", "mimeType": "text/csv", "buffer": b"model,photos\nred,r.png\n"}
    )
    page.get_by_text("ads.csv, объявлений: 1").wait_for()
    page.locator("input[accept*=zip]").set_input_files(
        {"name": "p.zip", "mimeType": "application/zip", "buffer": b"PK\3\4 no zip"}
    )
    page.get_by_text("p.zip, 0.0").wait_for()
    page.get_by_role("button", name="Проверить партию").click()
    page.get_by_role("alert").filter(has_text="p.zip: такой архив не годится").wait_for()
    assert foreign_words(page) == []
    page.context.close()


def test_a_lot_of_single_photos(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "en", 1280)
    page.get_by_role("tab", name="Lot").click()
    table = b"model,photos\nblue,r.png\nred,b.png\n"
    page.locator("input[accept*=csv]").set_input_files({"name": "ads.csv", "mimeType": "text/csv", "buffer": table})
    page.get_by_text("ads.csv, ads: 2").wait_for()
    sent = [photo(250, 0, 0, "r.png"), photo(0, 0, 250, "b.png")]
    page.locator("input[accept*=zip]").set_input_files(sent)
    page.get_by_text("Photos: 2", exact=True).wait_for()
    page.get_by_role("button", name="Check the lot").dblclick()  # the second press begins nothing
    page.get_by_text("2 of 2 photos").wait_for()
    page.get_by_text("The photos were looked at and forgotten").wait_for()
    assert page.get_by_role("button", name="Download the table").count() == 1
    page.get_by_role("button", name="Check the lot").click()
    page.get_by_text("Choose a table and its photos first.").wait_for()  # they are no longer there
    page.context.close()


def test_the_api_is_described_without_anybody_else(browser: Browser, url: str) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(f"{url}/docs")
    page.get_by_text("/v1/listings/check").first.wait_for()
    page.locator("#operations-default-alive_healthz_get button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").get_by_text('"ok"').first.wait_for()
    assert f"{url}/healthz" in asked
    assert [one for one in asked if not one.startswith((f"{url}/", "data:", "blob:"))] == []
    assert complaints == []  # its own policy forbids nothing that it needs
    page.context.close()
