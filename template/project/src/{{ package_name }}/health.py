"""Health checks, and the answer to a request that fails because the database is unavailable.

An orchestrator restarts a container when `/livez` fails, and sends it no requests while `/readyz`
fails.
"""

import sys
from collections.abc import Callable
from threading import Thread

import structlog
from django.db import Error, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults

# Seconds that the database has to answer.
TIMEOUT = 2.0

log = structlog.stdlib.get_logger(__name__)


class HealthCheckMiddleware:
    """Answer `/livez` and `/readyz`.

    It comes first, because probes use plain HTTP and an IP address as their host, and because they
    are too frequent to log.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._check = DatabaseCheck()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        match request.path_info:
            case "/livez":
                return JsonResponse({"status": "ok"})
            case "/readyz":
                missing = [] if self._database_is_reachable() else ["database"]
                return JsonResponse({"missing": missing}, status=503 if missing else 200)
            case _:
                return self.get_response(request)

    def _database_is_reachable(self) -> bool:
        check = self._check
        if not check.is_alive():
            check = self._check = DatabaseCheck()
            check.start()
        check.join(TIMEOUT)
        if check.is_alive():
            log.error("not ready", missing="database", error=f"no answer in {TIMEOUT} s")
        return check.reachable


class DatabaseCheck(Thread):
    """A query in its own thread, because on a broken network it can hang for minutes.

    As a daemon, the thread does not delay the exit of the process.
    """

    def __init__(self) -> None:
        super().__init__(name="readyz", daemon=True)
        self.reachable = False

    def run(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            self.reachable = True
        except Error as error:
            log.error("not ready", missing="database", error=str(error))
        finally:
            connection.close()


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request that raised an exception. Clients may repeat it if the database was away."""
    if isinstance(sys.exception(), OperationalError):
        text = "The database is unavailable."
        return HttpResponse(text, "text/plain", 503, headers={"Retry-After": "5"})
    return defaults.server_error(request)
