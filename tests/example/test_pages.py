"""The pages: they show what was found, and they escape it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from django_dbq.models import Job
from example.catalog import index
from example.catalog.models import Failure, Module
from tests.example.conftest import BAD, GOOD, HOSTILE, python_says

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("example")]

PAGES = ["overview", "modules", "search", "failures", "queue"]


def page(client, name: str, *args: str, **query: object) -> str:
    response = client.get(reverse(f"catalog:{name}", args=args), query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_works_before_anything_was_indexed(client, name):
    assert "<h1>" in page(client, name)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_needs_anything_from_elsewhere(client, indexed, name):
    text = page(client, name)

    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text


def test_the_overview_shows_totals_and_rankings(client, indexed):
    text = page(client, "overview")

    assert f"<dd>{len(GOOD)}</dd>" in text
    assert f"<dd>{len(BAD)}</dd>" in text
    assert text.index(">alpha</a>") < text.index(">beta.gamma</a>")  # the biggest first
    assert "COMPLETE <b>4</b>" in text


def test_the_overview_tells_of_the_scheduled_job(client, run_jobs):
    index.schedule_summary(timedelta(hours=1))
    assert "The summary is scheduled for" in page(client, "overview")

    Job.objects.update(run_after=None)
    run_jobs()
    assert "counted 0 modules and 0 failures" in page(client, "overview")


@pytest.mark.parametrize("sort", ["name", "lines", "classes", "functions", "nonsense", ""])
def test_modules_can_be_listed_in_any_order(client, indexed, sort):
    assert "beta.gamma" in page(client, "modules", sort=sort)


@pytest.mark.parametrize("number", ["1", "2", "99", "-1", "nonsense"])
def test_a_long_list_has_pages(client, indexed, number):
    Module.objects.bulk_create(
        Module(
            path=f"m{n}.py",
            name=f"m{n}",
            is_package=False,
            size=1,
            lines=1,
            classes=0,
            functions=0,
            job_id=Job.objects.first().pk,
        )
        for n in range(60)
    )

    assert "of 2" in page(client, "modules", page=number)


def test_a_module_shows_what_stands_in_it_and_who_imports_it(client, indexed):
    text = page(client, "module", "beta/gamma.py")

    assert ">run</code>" in text
    assert "beta.delta" in text  # imported, though the library does not have it
    for importer in ("alpha.py", "beta/__init__.py"):
        assert f'href="{reverse("catalog:module", args=[importer])}"' in text


def test_an_unknown_module_is_not_found(client):
    assert client.get(reverse("catalog:module", args=["no/such.py"])).status_code == 404


def test_a_module_whose_job_was_deleted_is_still_shown(client, indexed):
    Job.objects.all().delete()

    assert "deleted since" in page(client, "module", "alpha.py")


def test_search_finds_modules_and_definitions(client, indexed):
    text = page(client, "search", q="GAM")
    assert ">beta.gamma</a>" in text

    text = page(client, "search", q="are")
    assert "Shape.area" in text


def test_search_takes_wildcards_and_odd_characters_for_what_they_are(client, indexed):
    for text in ("%", "_%_", "\0", "'", '"', "\\", "é" * 500):
        assert "beta" not in page(client, "search", q=text).split("<main")[1]


def test_failures_are_shown_with_their_story(client, indexed):
    text = page(client, "failures")

    assert "broken.py:2" in text
    assert escape(python_says("broken.py")) in text
    assert "Traceback (most recent call last)" in text


def test_everything_is_escaped(client, indexed):
    Job.objects.filter(workspace__path="broken.py").update(name=HOSTILE)
    Failure.objects.update(message=HOSTILE)
    Module.objects.filter(name="alpha").update(name=HOSTILE)
    pages = [page(client, name) for name in PAGES]
    pages += [page(client, "search", q=HOSTILE), page(client, "module", "beta/gamma.py")]

    assert not [text for text in pages if HOSTILE in text]
    assert sum("&lt;img src=x" in text for text in pages) >= 5


def test_a_module_can_be_indexed_again(client, indexed, run_jobs):
    jobs = Job.objects.count()

    response = client.post(reverse("catalog:index_again", args=["alpha.py"]))

    assert response.status_code == 302
    assert Job.objects.count() == jobs + 1
    assert "1 job to go" in page(client, "queue")
    run_jobs()
    assert "Nothing to do" in page(client, "queue")


def test_only_files_of_the_index_can_be_indexed_again(client, indexed):
    response = client.post(reverse("catalog:index_again", args=["../secret.py"]))

    assert response.status_code == 404


def test_a_foreign_site_cannot_enqueue(indexed):
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("catalog:index_again", args=["alpha.py"]))

    assert response.status_code == 403
    assert not Job.objects.filter(state="NEW").exists()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_read_only(client, name):
    assert client.post(reverse(f"catalog:{name}")).status_code == 405


def test_the_queue_page_renews_itself_while_there_is_work(client):
    assert "http-equiv" not in page(client, "queue")

    index.enqueue_module("alpha.py")

    assert '<meta http-equiv="refresh" content="2">' in page(client, "queue")
