import pytest
from alembic import command
from alembic.config import Config


@pytest.fixture
def alembic(
    database_url: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Config:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return Config(pytestconfig.rootpath / "alembic.ini")


def test_the_migrations_make_the_tables_of_the_models(alembic: Config) -> None:
    command.upgrade(alembic, "head")
    command.check(alembic)


def test_the_migrations_can_be_undone(alembic: Config) -> None:
    command.upgrade(alembic, "head")
    command.downgrade(alembic, "base")
    command.upgrade(alembic, "head")
