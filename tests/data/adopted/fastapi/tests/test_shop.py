from shop.main import app


def test_the_title():
    assert app.title == "Shop"
