import pytest
from fastapi.testclient import TestClient


def test_words_are_counted_ignoring_case(client: TestClient) -> None:
    answer = client.post("/word-counts", json={"text": "Straße, STRASSE! One street.", "top": 1})

    assert answer.status_code == 200
    assert answer.json() == {"total": 4, "top": [{"word": "strasse", "count": 2}]}


def test_a_text_without_words_has_no_counts(client: TestClient) -> None:
    assert client.post("/word-counts", json={"text": " …"}).json() == {"total": 0, "top": []}


@pytest.mark.parametrize(
    "body", [{}, {"text": "x" * 100_001}, {"text": "x", "top": 0}, {"text": "x", "top": 101}]
)
def test_an_invalid_request_is_rejected(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/word-counts", json=body).status_code == 422
