"""The clock that a test can move: one for the queue, the databases and Django."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from unittest import mock

import pytest
from django.utils import timezone as django_timezone

from django_dbq import clock as package_clock
from django_dbq.engines import engine_for
from django_dbq.models import Attempt, Job
from django_dbq.testing import MovedClock, move_clock, run_jobs
from tests.doors import chores

A_MINUTE = timedelta(minutes=1)
IN_2040 = datetime(2040, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def declared(settings):
    chores.calls.clear()
    settings.JOBS = chores.JOBS


def is_about(found, expected):
    return timedelta(0) <= found - expected < A_MINUTE


def all_clocks():
    """What each one that the package goes by tells."""
    return [
        package_clock.aware_now(),
        engine_for("default").now(),
        package_clock.as_aware(django_timezone.now()),
    ]


# Moving it


@pytest.mark.django_db
@pytest.mark.parametrize("use_tz", [True, False])
def test_every_clock_of_this_process_is_moved(settings, use_tz):
    settings.USE_TZ = use_tz
    with move_clock(IN_2040) as clock:
        clock.forward(hours=1)
        times = all_clocks()
        assert django_timezone.is_aware(django_timezone.now()) is use_tz

    assert all(is_about(each, IN_2040 + timedelta(hours=1)) for each in times)


@pytest.mark.django_db
def test_at_the_end_of_the_block_every_clock_is_where_it_was():
    started = package_clock.host_now()
    with move_clock(IN_2040):
        pass

    now = package_clock.host_now()
    assert all(started - A_MINUTE < each < now + A_MINUTE for each in all_clocks())


@pytest.mark.django_db
def test_an_error_in_the_block_puts_the_clocks_back():
    with pytest.raises(ValueError, match="oh"), move_clock(IN_2040):
        raise ValueError("oh")

    assert max(all_clocks()) < IN_2040


@pytest.mark.django_db
def test_djangos_clock_can_be_left_alone():
    with move_clock(IN_2040, timezone_now=False):
        ours, database, djangos = all_clocks()

    assert min(ours, database) >= IN_2040
    assert djangos < IN_2040


def test_a_moved_clock_goes_on_by_itself_so_that_jobs_keep_their_order():
    times = iter([IN_2040, IN_2040 + timedelta(seconds=3)])
    clock = MovedClock(lambda: next(times))

    first, second = clock.now(), clock.now()

    assert second - first == timedelta(seconds=3)


def test_forward_takes_a_timedelta_or_what_makes_one_and_tells_the_new_time():
    clock = MovedClock(lambda: IN_2040)

    assert clock.forward(timedelta(hours=1)) == IN_2040 + timedelta(hours=1)
    assert clock.forward(days=1, minutes=5) == IN_2040 + timedelta(days=1, hours=1, minutes=5)


def test_a_clock_can_be_moved_to_a_time_in_the_past_too():
    clock = MovedClock(lambda: IN_2040)

    assert clock.move_to(IN_2040 - timedelta(days=9)) == IN_2040 - timedelta(days=9)
    assert clock.move_to(IN_2040 + timedelta(days=9)) == IN_2040 + timedelta(days=9)


def test_a_time_without_a_zone_is_one_of_djangos_current_zone():
    clock = MovedClock(lambda: IN_2040)

    with django_timezone.override(timezone(timedelta(hours=2))):
        told = clock.move_to(datetime(2041, 1, 1, 12))

    assert told == datetime(2041, 1, 1, 10, tzinfo=timezone.utc)


def test_a_moved_clock_in_a_moved_clock_begins_there():
    with move_clock(IN_2040), move_clock() as inner:
        inner.forward(hours=1)
        assert is_about(package_clock.aware_now(), IN_2040 + timedelta(hours=1))


# Jobs by it


@pytest.mark.django_db
def test_a_job_becomes_due_when_the_clock_is_moved():
    Job.objects.create(name="note", run_after=django_timezone.now() + timedelta(hours=1))
    with move_clock() as clock:
        clock.forward(minutes=59)
        assert run_jobs() == []
        clock.forward(minutes=1)
        assert len(run_jobs().complete) == 1


@pytest.mark.django_db
def test_an_attempt_that_waits_is_made_when_the_clock_is_moved():
    Job.objects.create(name="third_time_lucky")
    with move_clock() as clock:
        run_jobs()
        clock.forward(seconds=10)
        run_jobs()
        assert chores.calls == [1, 2]
        clock.forward(seconds=600)
        assert len(run_jobs().complete) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["note", "atomic", "fail"])
def test_all_that_is_written_down_has_the_time_of_that_clock(name):
    with move_clock(IN_2040):
        Job.objects.create(name=name)
        (job,) = run_jobs()

    columns = ("created", "modified", "started_at", "last_attempted_at", "finished_at")
    assert all(is_about(getattr(job, column), IN_2040) for column in columns)
    assert all(is_about(story.finished_at, IN_2040) for story in Attempt.objects.all())


@pytest.mark.django_db
def test_until_moves_the_clock_that_the_test_has_in_its_hands_and_leaves_it_there():
    with move_clock(IN_2040) as clock:
        run_jobs(until=timedelta(hours=3))

        assert is_about(clock.now(), IN_2040 + timedelta(hours=3))


@pytest.mark.django_db
def test_until_a_time_that_has_passed_moves_no_clock_back():
    with move_clock(IN_2040) as clock:
        run_jobs(until=timedelta(days=-1))

        assert clock.now() >= IN_2040


@pytest.mark.django_db
def test_the_queue_goes_by_the_moved_clock_where_djangos_is_left_alone():
    Job.objects.create(name="note", run_after=IN_2040)
    with move_clock(IN_2040, timezone_now=False):
        (job,) = run_jobs()

    assert is_about(job.finished_at, IN_2040)


@pytest.mark.django_db
def test_jobs_made_at_one_call_keep_their_order_when_the_clock_is_moved():
    with move_clock(IN_2040):
        Job.objects.bulk_create([Job(name="note", workspace={"n": n}) for n in range(20)])
        for number in range(20, 30):
            Job.objects.create(name="note", workspace={"n": number})
        run_jobs()

    assert chores.calls == list(range(30))


# Clocks that others have moved, as freezegun and time_machine do


@pytest.fixture
def frozen():
    """As freezegun does it: Django's clock stands still, the database's goes on."""
    with mock.patch.object(django_timezone, "now", return_value=IN_2040):
        yield


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["note", "atomic"])
def test_a_clock_that_others_have_stopped_is_that_of_the_jobs_too(frozen, name):
    Job.objects.create(name=name, run_after=IN_2040)

    (job,) = run_jobs()

    assert (job.started_at, job.finished_at, job.modified) == (IN_2040, IN_2040, IN_2040)


@pytest.mark.django_db
def test_a_clock_that_others_have_stopped_is_moved_from_there(frozen):
    Job.objects.create(name="third_time_lucky")

    run_jobs(until=timedelta(seconds=610))

    assert Job.objects.get().finished_at == IN_2040 + timedelta(seconds=610)
    assert django_timezone.now() == IN_2040


@pytest.mark.django_db
def test_when_jobs_have_run_the_databases_clock_is_its_own_again(frozen):
    run_jobs()

    assert engine_for("default").now() < IN_2040
