import django_bench  # noqa: F401

from benchmarks.limit import work_at_the_limit

if __name__ == "__main__":
    work_at_the_limit()
