"""Python imports this at the start of each process of the published 3.3.

Where ours is installed as editable, it would lend 3.3 the modules that that one has not.
"""

from __future__ import annotations

import sys

sys.meta_path[:] = [
    finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")
]
