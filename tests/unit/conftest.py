"""Nothing in this folder touches a database, and all of it takes a few seconds."""

from __future__ import annotations

import hypothesis

# No folder of failed examples is kept, and a busy machine makes no test fail.
hypothesis.settings.register_profile(
    "dbq",
    database=None,
    deadline=None,
    # See tests/model/conftest.py.
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink),
)
hypothesis.settings.load_profile("dbq")
