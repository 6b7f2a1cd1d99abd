"""The page in Debian's Chromium: what tests of its tabs share."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Locator, Page

from helpers.tiny import colour_photo

PATIENCE = 60_000  # milliseconds; two shared cores, a browser and a server


class Server(NamedTuple):
    """Where a server is, and its process."""

    url: str
    pid: int

    @property
    def workers(self) -> list[int]:
        """Its processes that look at photos."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        children = [pid for task in tasks for pid in (task / "children").read_text().split()]
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def served(*words: str, code: str = "from carspotter.apps.cli import main; main()") -> Iterator[Server]:
    """`carspotter serve` with its options.

    Args:
        words: of the command line.
        code: what its process runs.
    """
    command = [sys.executable, "-c", code, "serve", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found
        yield Server(found[0], server.pid)
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
    wait_until_open(page)
    return page, outside


def reload(page: Page) -> None:
    page.reload()
    wait_until_open(page)


def wait_until_open(page: Page) -> None:
    page.wait_for_selector("input[type=file]", state="attached")
    page.wait_for_function("window.carspotterPaste === true")  # it talks to the server by now


def listing_photos(page: Page) -> Locator:
    """Where the photos of a listing go: beside what it declares.

    A click on a tab is answered by the server; until then the only place for photos is that of another tab.
    """
    return page.get_by_role("tabpanel").filter(has=page.get_by_role("textbox")).locator("input[type=file]")


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
