"""The database: a session for each request, and a check that the server is reachable."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

# Seconds that the database has to answer. A probe waits longer.
TIMEOUT = 2.0

log = structlog.stdlib.get_logger(__name__)


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Yield the session of one request. Changes that are not committed are rolled back."""
    async with AsyncSession(request.app.state.engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


def missing_table(error: DBAPIError) -> str:
    """Return which table or column the query lacked, or "" if it failed for another reason."""
    reason, *_ = str(error.orig).splitlines() or [""]
    # PostgreSQL reports this with a code, SQLite only in words.
    undefined = getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}
    found = undefined or re.match(r"no such (table|column)|table \w+ has no column", reason)
    return reason if found else ""


async def is_reachable(engine: AsyncEngine) -> bool:
    """Return whether the database answers a query within TIMEOUT."""
    query = asyncio.create_task(_query(engine))
    # Not asyncio.wait_for: it would wait for the cancellation, which a silent server delays.
    await asyncio.wait({query}, timeout=TIMEOUT)
    if query.done():
        return query.result()
    query.cancel()
    log.error("not ready", missing="database", error=f"no answer in {TIMEOUT} s")
    return False


async def _query(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (OSError, SQLAlchemyError) as error:
        log.error("not ready", missing="database", error=str(error))
        return False
    return True
