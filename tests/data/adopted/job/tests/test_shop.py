import shop


def test_the_package():
    assert shop
