"""What a service does when the database, a request, or a setting is not as it should be."""

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.built_projects import Stack
from helpers.docker_engine import Container, Image, docker, docker_ok, running
from helpers.postgresql import IMAGE

# A request that needs the database.
REQUEST = {
    "django": (
        "t = 'a' * 32; c.request('POST', '/admin/login/',"
        " f'csrfmiddlewaretoken={t}&username=a&password=a', {'Cookie': f'csrftoken={t}',"
        " 'Content-Type': 'application/x-www-form-urlencoded'})"
    ),
    "fastapi": "c.request('GET', '/notes')",
}
MIGRATE = {
    "django": ("python", "manage.py", "migrate"),
    "fastapi": ("alembic", "upgrade", "head"),
}


@dataclass(frozen=True)
class Cluster:
    """Two database servers, both with the address `database`, each on a network of its own."""

    networks: tuple[str, str]
    servers: tuple[str, str]

    def fail_over(self) -> None:
        """Cut off the first server without a word. On its network the second takes its place.

        The second has another IP address: the first keeps its own until it is cut off.
        """
        network, _ = self.networks
        first, second = self.servers
        docker_ok("network", "connect", "--alias=database", network, second)
        docker_ok("network", "disconnect", network, first)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster whose servers accept connections."""
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    cluster = Cluster((f"{name}-1", f"{name}-2"), (f"{name}-first", f"{name}-second"))
    try:
        for network, server in zip(cluster.networks, cluster.servers, strict=True):
            docker_ok("network", "create", network)
            docker_ok(
                "run", "--detach", "--name", server, f"--network={network}",
                "--network-alias=database", "--env=POSTGRES_USER=app",
                "--env=POSTGRES_PASSWORD=app", IMAGE,
            )  # fmt: skip
        for server in cluster.servers:
            end = time.monotonic() + 60
            while docker("exec", server, "pg_isready", "--host=127.0.0.1").returncode != 0:
                assert time.monotonic() < end, docker("logs", server).stdout
                time.sleep(0.2)
        yield cluster
    finally:
        docker("rm", "--force", "--volumes", *cluster.servers)
        docker("network", "rm", *cluster.networks)


def options(stack: Stack, **others: str) -> list[str]:
    """Return the settings of a container as options, with `others` added."""
    variables = {"DATABASE_URL": "postgresql://app:app@database/app"}
    if stack.framework == "django":
        variables |= {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "127.0.0.1", "HTTPS": "false"}
    return [f"--env={name}={value}" for name, value in (variables | others).items()]


def ask(service: Container, stack: Stack) -> tuple[int, str | None, float]:
    """Send a request that needs the database, from inside the container.

    Returns the status, the header Retry-After, and the seconds that it took, at most 60.
    """
    code = (
        "import http.client as h, json, time; b = time.monotonic();"
        "c = h.HTTPConnection('127.0.0.1', 8000, timeout=60);"
        f"{REQUEST[stack.framework]}; r = c.getresponse(); r.read();"
        "print(json.dumps([r.status, r.getheader('Retry-After'), time.monotonic() - b]))"
    )
    asked = service.exec("python", "-c", code)
    assert asked.returncode == 0, asked.stderr + service.logs()
    status, retry_after, seconds = json.loads(asked.stdout)
    return status, retry_after, seconds


@pytest.mark.stacks("django-postgres", "fastapi-postgres")
def test_a_failover_is_over_in_ten_seconds(stack: Stack, cluster: Cluster) -> None:
    """The old server falls silent and leaves its connections open; a new one has its address."""
    given = options(stack)
    for network in cluster.networks:
        migrate = (stack.image().reference, *MIGRATE[stack.framework])
        docker_ok("run", "--rm", f"--network={network}", *given, *migrate)
    with running(stack.image(), f"--network={cluster.networks[0]}", *given) as service:
        service.wait_until_live()
        assert [ask(service, stack)[0] for _ in range(5)] == [200] * 5
        cluster.fail_over()
        begin = time.monotonic()
        while ask(service, stack)[0] != 200:
            assert time.monotonic() - begin < 60, service.logs()
            time.sleep(0.2)
        outage = time.monotonic() - begin
        print(f"{stack.name}: an outage of {outage:.1f} s")
        assert outage <= 10, service.logs()


@pytest.mark.stacks("django-postgres", "fastapi-postgres")
def test_without_the_database_clients_are_told_to_retry(stack: Stack) -> None:
    """Soon, and in one record beside the one of the request."""
    given = options(stack, DATABASE_URL="postgresql://app:app@127.0.0.1:1/app")
    with running(stack.image(), "--network=none", *given) as service:
        service.wait_until_live()
        status, retry_after, seconds = ask(service, stack)
        assert (status, retry_after) == (503, "5"), service.logs()
        assert seconds < 3
        records = [json.loads(line) for line in service.logs().splitlines()]
        (request,) = (r for r in records if r["event"] == "request")
        told = [r for r in records if r.get("request_id") == request["request_id"]]
        assert [r["event"] for r in told if r is not request] == [
            {
                "django": "Service Unavailable: /admin/login/",
                "fastapi": "the database is unavailable",
            }[stack.framework]
        ]


@pytest.fixture
def failing(stack: Stack, tmp_path: Path) -> Iterator[Image]:
    """The image of the project with a route that raises an exception."""
    project = tmp_path / stack.project.name
    shutil.copytree(stack.project, project)
    edited = Stack(stack.name, stack.answers, project)
    with (edited.package / "main.py").open("a") as module:
        module.write("\n\n@app.get('/fail')\nasync def fail() -> None:\n    raise RuntimeError\n")
    yield edited.build()
    edited.remove_images()


@pytest.mark.stacks("fastapi-none")
def test_an_exception_is_logged_with_the_id_of_its_request(failing: Image) -> None:
    """By uvicorn, after the application is done with the request."""
    with running(failing, "--network=none") as service:
        service.wait_until_live()
        assert [service.get("/fail")[0] for _ in range(2)] == [500, 500]
        records = [json.loads(line) for line in service.logs().splitlines()]
    errors = [r for r in records if r["level"] == "error"]
    requests = [r for r in records if r["event"] == "request"]
    assert [r["request_id"] for r in errors] == [r["request_id"] for r in requests]
    assert len({r["request_id"] for r in errors}) == 2


@pytest.mark.stacks("django-postgres")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DEBUG", "true", "DEBUG"),
        ("SECRET_KEY", "only-for-development", "SECRET_KEY"),
        ("DATABASE_URL", "mysql://app:app@database/app", "mysqlclient"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY"),
        ("WEB_THREADS", "0", "WEB_THREADS"),
        ("WEB_THREADS", "many", "WEB_THREADS"),
    ],
)
def test_a_wrong_setting_ends_the_start_in_one_line(
    name: str, value: str, said: str, stack: Stack
) -> None:
    """Settings of development are wrong in production."""
    given = options(stack, **{name: value})
    done = docker("run", "--rm", *given, stack.image().reference, timeout=60)
    assert done.returncode in (1, 3)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert said in line
