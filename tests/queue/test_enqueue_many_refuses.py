"""What `enqueue_many` refuses, because it cannot be meant."""

from __future__ import annotations

import pytest

from django_dbq import queue
from django_dbq.exceptions import InvalidJob
from django_dbq.models import Job


@pytest.mark.django_db
@pytest.mark.parametrize("given", [{"active": True, "file": "x"}, "text", b"bytes"], ids=repr)
def test_one_workspace_in_place_of_many_is_refused(given):
    with pytest.raises(InvalidJob, match="one dict for each job"):
        queue.enqueue_many("noop", given)

    assert not Job.objects.exists()
