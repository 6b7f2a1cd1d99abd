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

from carspotter.tracking.decisions import read_decisions
from helpers.absent import absent
from helpers.tiny import colour_photo, write_remembering_bundle

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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("day")


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    for name, colour in (("red/1.png", (250, 0, 0)), ("red/2.png", (0, 0, 250)), ("blue/3.png", (0, 0, 240))):
        (place / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / name).write_bytes(colour_photo(*colour))
    folder = write_remembering_bundle(place / "tiny", place / "set")
    (place / "findings.csv").write_text(
        "id,kind,score,is_issue,why,suggestion\n"
        "red/2.png,label_error,0.01,1,others say blue,blue\n"
        "red/1.png,near_duplicate,0.2,1,as blue/3.png,blue/3.png\n"
        "blue/3.png,dark,0.3,0,not so dark,\n"
        "red,class_overlap,0.3,1,overlaps,blue\n"
    )
    command = [sys.executable, "-m", "carspotter", "serve", str(folder), "--port", "0", "--workers", "1"]
    command += ["--findings", str(place / "findings.csv"), "--photos", str(place / "set")]
    command += ["--decisions", str(place / "decisions.csv"), "--who", "the manager"]
    command += ["--runs", f"sqlite:///{place / 'runs.db'}"]
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


TEXTS_SHOWN = """
() => {
  const skip = element => element.closest('[lang=en],i,script,style,[aria-hidden=true]');
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!skip(walker.currentNode.parentElement)) found.push(walker.currentNode.textContent.trim());
  }
  for (const element of document.querySelectorAll('*')) {
    if (skip(element)) continue;
    for (const name of ['aria-label', 'alt', 'title', 'placeholder']) {
      if (element.hasAttribute(name)) found.push(element.getAttribute(name).trim());
    }
  }
  return found;
}
"""
OURS = re.compile(r"carspotter|[\w/]+\.png|red|green|blue|tiny|model|photos|the manager|\d[\d-]+T[\d:+]+|[KMG]?B\b")
"""What has no language: names of files, models, classes and people, times, sizes."""


def foreign_words(page: Page) -> list[str]:
    """Texts of a Russian page, those for screen readers too, that are not Russian and are not marked as English."""
    shown = [OURS.sub("", said) for said in page.evaluate(TEXTS_SHOWN)]
    return [said for said in shown if re.search("[A-Za-z]{2}", said) and not re.search("[А-Яа-я]", said)]


def photo(red: int, green: int, blue: int, name: str) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": colour_photo(red, green, blue)}


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


def test_a_review_survives_a_reload(browser: Browser, url: str, place: Path) -> None:
    page, outside = open_page(browser, url, "en", 1280)
    page.get_by_role("tab", name="Review").click()
    page.get_by_text("0 of 2 decided").wait_for()
    page.get_by_text("Keys: N, P").wait_for()
    page.keyboard.press("r")  # as suggested
    page.get_by_text("1 of 2 decided").wait_for()
    page.keyboard.press("d")
    page.get_by_text("2 of 2 decided").wait_for()
    made = [(d.id, d.decision.value, d.label, d.who) for d in read_decisions(place / "decisions.csv")]
    assert made == [("red/2.png", "relabel", "blue", "the manager"), ("red/1.png", "drop", "", "the manager")]
    page.reload()
    page.wait_for_function("window.carspotterPaste === true")
    page.get_by_role("tab", name="Review").click()
    page.get_by_text("2 of 2 decided").wait_for()
    page.get_by_text("Keys: N, P").wait_for()
    page.keyboard.press("n")
    page.keyboard.press("u")
    page.get_by_text("1 of 2 decided").wait_for()
    assert [d.id for d in read_decisions(place / "decisions.csv")] == ["red/2.png"]
    page.get_by_role("button", name="Keep").first.click()
    page.get_by_text("keep", exact=False).first.wait_for()
    assert page.locator(".answers:visible img").count() == 3  # a copy beside its original
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("button", name="Show the runs").click()
    page.wait_for_timeout(2000)
    assert outside == []
    page.context.close()


def test_a_russian_review_and_runs_are_russian(browser: Browser, url: str) -> None:
    page, _ = open_page(browser, url, "ru", 1280)
    page.get_by_role("tab", name="Разбор").click()
    page.get_by_text("red: возможно, неверная метка").wait_for()
    page.get_by_role("button", name="Оставить").first.click()
    page.get_by_text("оставлено").wait_for()
    page.locator(".answers:visible img").nth(2).wait_for()
    assert foreign_words(page) == []
    page.get_by_role("button", name="Отменить").first.click()
    page.get_by_text("оставлено").wait_for(state="hidden")
    page.get_by_role("tab", name="Запуски").click()
    page.get_by_role("button", name="Показать запуски").click()
    page.wait_for_timeout(2000)
    assert foreign_words(page) == []
    page.context.close()


def test_keys_are_switched_off_for_good(browser: Browser, url: str, place: Path) -> None:
    page, _ = open_page(browser, url, "en", 1280)
    decisions = place / "decisions.csv"
    before = decisions.read_bytes() if decisions.exists() else b""
    page.get_by_role("tab", name="Review").click()
    page.get_by_text("Keys: N, P").wait_for()
    page.get_by_role("switch", name="Keys decide").click()
    page.get_by_text("Keys: N, P").wait_for(state="hidden")
    page.keyboard.press("d")
    page.reload()
    page.wait_for_function("window.carspotterPaste === true")
    page.get_by_role("tab", name="Review").click()
    switch = page.get_by_role("switch", name="Keys decide")
    switch.wait_for()
    page.wait_for_timeout(1000)  # in which they would have been switched on
    assert switch.get_attribute("aria-checked") == "false"
    page.keyboard.press("d")
    page.wait_for_timeout(1000)
    assert (decisions.read_bytes() if decisions.exists() else b"") == before
    switch.click()
    page.get_by_text("Keys: N, P").wait_for()
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
