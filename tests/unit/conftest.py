"""Nothing in this folder touches a database, and all of it takes a few seconds."""

from __future__ import annotations

import hypothesis

# No folder of failed examples is kept, and a busy machine makes no test fail.
hypothesis.settings.register_profile("dbq", database=None, deadline=None)
hypothesis.settings.load_profile("dbq")
