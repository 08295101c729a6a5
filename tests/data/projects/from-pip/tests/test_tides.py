from tides.main import tides


def test_tides() -> None:
    assert tides() == ["ebb", "flow"]
