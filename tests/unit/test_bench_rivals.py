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


def found(*, ours=(), limit=()):
    """Ours and the limit, whose first variants were measured at these rates."""
    rates = {"ours": [*ours, 0, 0, 0], "limit": [*limit, 0, 0]}
    measured = {"ours": OURS, "limit": LIMIT}
    return measured, {
        (key, variant.name): Measured(rates=[rate] if rate else [], reason="the | disk was full")
        for key, rival in measured.items()
        for variant, rate in zip(rival.variants, rates[key])
    }


def test_what_could_not_be_measured_stands_in_the_table_with_its_reason():
    text = report.as_text({}, *found(ours=[1000]))

    assert text.count("not measured") == len(LIMIT.variants) + len(OURS.variants) - 1
    assert "the / disk was full" in text


def test_the_fastest_stands_first_and_is_compared_with_ours_of_as_many_processes():
    rows = list(report.rows(*found(ours=[1, 1000, 3000], limit=[2000, 12000])))

    assert [row[0] for row in rows] == ["pgbench"] * 2 + ["django-db-queue 4"] * 3
    assert [row[7] for row in rows] == [
        *("0.5 times", "0.2 times"),
        *("1,000 times", "1.0 times", "1.0 times"),
    ]


def test_the_plot_has_a_bar_for_each_number_of_processes():
    paper, ours, limit = 1, 2, 1
    picture = report.as_svg(*found(ours=[1, 1000, 3000], limit=[2000]))

    assert picture.count("<rect") == paper + ours + limit


@pytest.mark.parametrize(
    ("rate", "jobs"), [(1.0, 50), (100.0, 400), (3333.0, 13000), (1e9, 200000)]
)
def test_a_run_has_as_many_jobs_as_keep_the_worker_busy(rate, jobs):
    assert enough(rate) == jobs
