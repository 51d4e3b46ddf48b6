"""The pages in a real browser: what a person sees and clicks."""

from __future__ import annotations

import pytest
from django.urls import reverse

from example.catalog import index
from tests.example.conftest import CHROMIUM, python_says

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("example"),
]


class Visit:
    """A browser's page, and what went wrong while it was looked at."""

    def __init__(self, page, address: str) -> None:
        self.page, self.address = page, address
        self.problems: list[str] = []
        self.requested: set[str] = set()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", self._note_dialog)
        page.on("request", lambda request: self.requested.add(request.url))
        page.on("response", self._note_response)

    def _note_message(self, message) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _note_dialog(self, dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_response(self, response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status} {response.url}")

    def go(self, name: str) -> None:
        self.page.goto(self.address + reverse(f"catalog:{name}"))


@pytest.fixture
def visit(run_jobs, live_server):
    # Everything that asks the database is done first: Playwright's loop runs on this thread, and
    # Django refuses its blocking calls where a loop runs.
    playwright = pytest.importorskip("playwright.sync_api")
    index.enqueue_modules()
    run_jobs()
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield Visit(browser.new_page(), live_server.url)
        finally:
            browser.close()


def test_a_person_finds_a_module_and_indexes_it_again(visit):
    page = visit.page

    visit.go("overview")
    assert page.title() == "Overview · Library index"
    card = page.locator(".figures div", has_text="Modules")
    assert card.locator("dd").inner_text() == "4"
    assert page.locator(".card").first.evaluate("e => getComputedStyle(e).borderRadius") == "12px"

    page.get_by_role("searchbox").fill("gamma")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="beta.gamma").click()
    assert page.locator("h1").inner_text() == "beta.gamma"
    assert page.get_by_role("link", name="alpha", exact=True).count() == 1  # imports it

    page.get_by_role("button", name="Index again").click()
    assert page.locator("h1").inner_text() == "1 job to go"
    assert visit.problems == []


def test_a_failure_tells_its_story_and_runs_no_code_of_it(visit):
    page = visit.page

    page.set_viewport_size({"width": 390, "height": 800})
    visit.go("failures")
    story = page.locator("article", has_text="broken.py:2")
    assert python_says("broken.py") in story.inner_text()
    assert "onerror" in story.locator("pre").first.inner_text()
    story.locator("summary").click()
    assert "ast.parse" in story.locator("details pre").inner_text()

    for name in ("overview", "modules", "search", "failures", "queue"):
        visit.go(name)
        overflow = "() => document.documentElement.scrollWidth - window.innerWidth"
        assert page.evaluate(overflow) <= 0, f"{name} is wider than a telephone"
    assert visit.problems == []
    assert all(url.startswith((visit.address, "data:")) for url in visit.requested)
