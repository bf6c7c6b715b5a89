"""Headless Chromium for the tests of pages: opens a file, and keeps what its console said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_SKIPPED = "needs Chromium (Debian: apt-get install chromium)"
QUIET = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def browser_page() -> Iterator[tuple[Page, list[str]]]:
    """A blank page, and a list that fills with what a browser complains of."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        page = browser.new_page(bypass_csp=True)  # the audit is a script, and our pages allow none
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page, complaints
        browser.close()


def open_file(page: Page, path: Path, width: int) -> None:
    """Shows a file in a window of that width, in pixels."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.resolve().as_uri())
