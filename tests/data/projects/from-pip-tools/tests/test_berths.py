import pytest
from model_bakery import baker


@pytest.mark.django_db
def test_berths(client):
    baker.make("berths.Berth", name="North quay 3")
    assert "North quay 3" in client.get("/").content.decode()
