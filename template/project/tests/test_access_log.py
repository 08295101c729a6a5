import logging

from django.test import Client
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs


def test_requests_are_logged_without_query_string_and_probes_are_not(client: Client) -> None:
    with capture_logs(processors=[merge_contextvars]) as records:
        client.get("/livez")
        client.get("/nowhere?token=secret")

    [record] = records
    assert record["event"] == "request"
    assert (record["method"], record["path"], record["status"]) == ("GET", "/nowhere", 404)
    assert len(record["request_id"]) == 32
    assert record["ms"] > 0


def test_the_request_id_lasts_until_django_has_logged_the_response(client: Client) -> None:
    ids = []

    def remember_id(_: logging.LogRecord) -> bool:
        ids.append(get_contextvars().get("request_id"))
        return True

    logger = logging.getLogger("django.request")
    logger.addFilter(remember_id)
    try:
        client.get("/nowhere")
    finally:
        logger.removeFilter(remember_id)

    [request_id] = ids
    assert request_id
    assert "request_id" not in get_contextvars()
