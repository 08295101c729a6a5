"""The server's records: one for each request, and uvicorn's in the same form as all others."""

import logging
import time
import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Asked every few seconds for as long as the service lives.
SILENT = {"/livez", "/readyz"}

log = structlog.stdlib.get_logger(__name__)


class AccessLog:
    """ASGI middleware: logs each request and gives all its records one `request_id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in SILENT:
            await self.app(scope, receive, send)
            return

        status = 500
        started = time.perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=uuid.uuid4().hex):
            try:
                await self.app(scope, receive, note_status)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                )


def replace_uvicorns() -> None:
    """Take uvicorn's handlers away: the root's write its records, AccessLog those of requests."""
    for name, propagate in (("uvicorn", True), ("uvicorn.access", False)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = propagate
    logging.getLogger("uvicorn.error").addFilter(_without_colors)


def _without_colors(record: logging.LogRecord) -> bool:
    # The message once more, for uvicorn's own formatter.
    vars(record).pop("color_message", None)
    return True
