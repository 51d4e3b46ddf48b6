"""Its documented way to run a worker without its command line."""

import argparse
import asyncio

import pgqueuer
import uvloop

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    run = uvloop.run if arguments.uvloop else asyncio.run
    run(pgqueuer.run("tasks:create", batch_size=arguments.batch_size))
