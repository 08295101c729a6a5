def test_livez(client):
    assert client.get("/livez").status_code == 200
