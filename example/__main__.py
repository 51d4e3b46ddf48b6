"""`python -m example`: migrate, enqueue, work, watch, and say what was found."""

from __future__ import annotations

import sys

from example.stop import StopRequest

if __name__ == "__main__":
    stop = StopRequest()
    stop.listen()

    from example.run import main

    sys.exit(main(sys.argv[1:], stop))
