"""`make bench-rivals`: other queues, each installed in a place of its own, do what ours does."""
