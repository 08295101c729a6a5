"""A PostgreSQL server in a container, for the tests of generated projects."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from helpers.docker_engine import docker, docker_ok

# The image that the projects' compose files name.
IMAGE = "postgres:18"

_WITH_FIXTURE = (
    "def test(database_url: str) -> None:\n    assert database_url.startswith('postgresql')\n"
)
# By framework: a test for a project that fails where its tests run on another database.
REQUIRES_POSTGRESQL = {
    "django": "from django.db import connection\n\n\n"
    "def test() -> None:\n    assert connection.vendor == 'postgresql'\n",
    "fastapi": _WITH_FIXTURE,
    "job": _WITH_FIXTURE,
}


@dataclass(frozen=True)
class PostgresServer:
    """A running server, by the name of its container and its port on this machine."""

    container: str
    port: int

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"project_{uuid.uuid4().hex[:12]}"
        docker_ok("exec", self.container, "createdb", "--username=app", name)
        return f"postgresql://app:app@{self.address}/{name}"

    def databases(self) -> list[str]:
        """Return the names of all databases, sorted."""
        query = "SELECT datname FROM pg_database ORDER BY datname"
        options = ["--username=app", "--tuples-only", "--no-align", f"--command={query}"]
        return docker_ok("exec", self.container, "psql", *options).split()


@contextmanager
def postgres_server(seconds: float = 60) -> Iterator[PostgresServer]:
    """Run a server until the block ends.

    Raises AssertionError with its log where it takes no connections within `seconds`.
    """
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    settings = ["--env=POSTGRES_USER=app", "--env=POSTGRES_PASSWORD=app"]
    docker_ok("run", "--detach", "--name", name, *settings, "--publish=127.0.0.1::5432", IMAGE)
    try:
        # Over TCP: while it sets itself up, the server listens on its socket only.
        ready = ["exec", name, "pg_isready", "--host=127.0.0.1", "--username=app"]
        end = time.monotonic() + seconds
        while docker(*ready).returncode != 0:
            assert time.monotonic() < end, docker("logs", name).stdout
            time.sleep(0.2)
        address = docker_ok("port", name, "5432/tcp").splitlines()[0]
        yield PostgresServer(name, int(address.rpartition(":")[2]))
    finally:
        docker("rm", "--force", "--volumes", name)
