"""`make bench-rivals`, as far as it can be looked at without installing a rival."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.rivals import report
from benchmarks.rivals.adapters import django_db_queue_4, pgbench
from benchmarks.rivals.measure import Measured, enough

RIVALS = Path(report.__file__).parent
ADAPTERS = sorted(path.stem for path in (RIVALS / "adapters").glob("[!_]*.py"))
OURS, LIMIT = django_db_queue_4.RIVAL, pgbench.RIVAL


@pytest.mark.parametrize("key", ADAPTERS)
def test_an_adapter_is_pinned_and_has_a_project_and_variants_of_different_names(key):
    rival = import_module(f"benchmarks.rivals.adapters.{key}").RIVAL
    assert (RIVALS / "projects" / (rival.project or key)).is_dir()
    assert all("==" in each for each in rival.requirements)
    assert all("@" in each[1:] for each in rival.packages)
    assert len({variant.name for variant in rival.variants}) == len(rival.variants)


def found(**rates):
    """Ours and the limit, both with all variants, of which these have been measured."""
    measured = {"ours": OURS, "limit": LIMIT}
    return measured, {
        (key, variant.name): Measured(rates=rates.get(key, []), reason="the | disk was full")
        for key, rival in measured.items()
        for variant in rival.variants
    }


def test_what_could_not_be_measured_stands_in_the_table_with_its_reason():
    text = report.as_text({}, *found(ours=[1000.0]))
    assert text.count("not measured") == len(LIMIT.variants)
    assert "the / disk was full" in text


def test_the_fastest_stands_first_and_is_compared_with_ours_of_as_many_processes():
    rivals, measured = found(ours=[1000.0, 3000.0, 2000.0], limit=[8000.0])
    rows = list(report.rows(rivals, measured))
    assert [row[0] for row in rows] == ["pgbench"] * 2 + ["django-db-queue 4"] * 3
    assert {row[7] for row in rows} == {"0.2 times", "1.0 times"}


def test_the_plot_has_a_bar_for_each_number_of_processes():
    rivals, measured = found(ours=[2000.0])
    assert report.as_svg(rivals, measured).count("<rect") == 1 + 2  # the paper, and ours


@pytest.mark.parametrize(
    ("rate", "jobs"), [(1.0, 50), (100.0, 400), (3333.0, 13000), (1e9, 200000)]
)
def test_a_run_has_as_many_jobs_as_keep_the_worker_busy(rate, jobs):
    assert enough(rate) == jobs
