import argparse
import asyncio

import tasks


async def main(max_workers):
    await tasks.client().start([("default", max_workers)])
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-workers", type=int)
    asyncio.run(main(parser.parse_args().max_workers))
