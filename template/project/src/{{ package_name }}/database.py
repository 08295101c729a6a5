"""The database: a session for each request, and whether it answers at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

# Seconds, and shorter than the time limit of a probe.
TIME_LIMIT = 2.0

log = structlog.stdlib.get_logger(__name__)


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


# A parameter of this type gets a session. What it does not commit is rolled back.
Session = Annotated[AsyncSession, Depends(_session)]


async def answers(engine: AsyncEngine) -> bool:
    """Return whether the database answers a query within TIME_LIMIT."""
    query = asyncio.create_task(_query(engine))
    # A time-out that awaited the end of the query would wait for a silent server once more.
    await asyncio.wait({query}, timeout=TIME_LIMIT)
    if query.done():
        return query.result()
    query.cancel()
    log.error("not ready", missing="database", error=f"no answer in {TIME_LIMIT} s")
    return False


async def _query(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (OSError, SQLAlchemyError) as error:
        log.error("not ready", missing="database", error=str(error))
        return False
    return True
