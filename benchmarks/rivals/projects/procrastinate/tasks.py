import os

from bench import record
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]), import_paths=["tasks"])


@app.task
async def noop():
    pass


@app.task
async def started(sent):
    record(sent)
