"""How fast the queue is, measured: `make bench`, or `python -m benchmarks`. See README.md."""
