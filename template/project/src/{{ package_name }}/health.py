"""Probes: an orchestrator restarts what fails `/livez`, and routes around what fails `/readyz`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

# Seconds in which the database has to answer.
LIMIT = 2.0

log = structlog.stdlib.get_logger(__name__)
NO_ANSWER = (Error, TimeoutError)
# A thread of its own: a network that swallows packets could hold one for minutes.
_checks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="readyz")


def probes(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Make the middleware that answers `/livez` and `/readyz`.

    It stands before all others: a probe comes over plain HTTP and names an address as host.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        match request.path_info:
            case "/livez":
                return JsonResponse({"status": "ok"})
            case "/readyz":
                missing = [] if _database_answers() else ["database"]
                return JsonResponse({"missing": missing}, status=503 if missing else 200)
            case _:
                return get_response(request)

    return middleware


def _database_answers() -> bool:
    check = _checks.submit(_ask_database)
    try:
        check.result(timeout=LIMIT)
    except NO_ANSWER as error:
        check.cancel()
        log.error("not ready", missing="database", error=repr(error))
        return False
    return True


def _ask_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
