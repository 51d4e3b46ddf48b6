"""`make bench-rivals`: other queues, installed each in its own place, do the work that ours does."""
