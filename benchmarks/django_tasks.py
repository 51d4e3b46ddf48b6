"""The Django tasks that are measured."""

from __future__ import annotations

import asyncio

from django_dbq.task_backend import HOME


@HOME.tasks.task
async def wait() -> None:
    await asyncio.sleep(0.1)
