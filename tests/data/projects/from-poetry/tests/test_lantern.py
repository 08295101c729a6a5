from fastapi.testclient import TestClient
from lantern.main import app


def test_versions() -> None:
    assert TestClient(app).get("/versions").json() == {"acme-billing": "1.0.0", "beacon": "1.0.0"}
