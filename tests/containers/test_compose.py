"""`docker compose up`, as the message after a copy says, up to a row in PostgreSQL."""

import http.cookiejar
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.built_projects import Stack
from helpers.commands import attempt
from helpers.docker_engine import docker, docker_ok, fetch
from helpers.first_models import write_model
from helpers.markdown_commands import section, steps
from helpers.postgresql import REQUIRES_POSTGRESQL

Compose = Callable[..., str]


@contextmanager
def composing(stack: Stack, tmp_path: Path, *, watching: bool = False) -> Iterator[Compose]:
    """Run `docker compose` in the stack's project, apart from every other and on a free port.

    The first `up` is followed by `watch` in the background where `watching` is set.
    """
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    options = ["compose", "--project-name", name, "--file", "compose.yaml"]
    watchers: list[subprocess.Popen[bytes]] = []
    if stack.framework != "job":
        override = tmp_path / "override.yaml"
        override.write_text('services: {web: {ports: !override ["127.0.0.1::8000"]}}\n')
        options += ["--file", str(override), "--project-directory", "."]

    def run(*arguments: str) -> str:
        """Return what the command printed. Raises AssertionError with it when it fails."""
        said = docker_ok(*options, *arguments, cwd=stack.project, timeout=300)
        if watching and arguments[0] == "up" and not watchers:
            command = ["docker", *options, "watch", "--no-up"]
            with (tmp_path / "watch.log").open("w") as log:
                watchers.append(
                    subprocess.Popen(command, cwd=stack.project, stdout=log, stderr=log)
                )
            wait_until(lambda: "enabled" in (tmp_path / "watch.log").read_text())
        return said

    try:
        yield run
    finally:
        for watcher in watchers:
            watcher.terminate()
            watcher.wait()
        docker(*options, "down", "--volumes", "--rmi=local", "--remove-orphans", cwd=stack.project)


@pytest.fixture
def compose(stack: Stack, tmp_path: Path) -> Iterator[Compose]:
    """Run `docker compose` in the stack's project."""
    with composing(stack, tmp_path) as run:
        yield run


@pytest.fixture
def copied(stack: Stack, tmp_path: Path) -> Stack:
    """The stack with a project of its own to edit, whose files belong to an ordinary user."""
    project = shutil.copytree(stack.project, tmp_path / stack.project.name)
    if os.geteuid() == 0:
        for path in [project, *project.rglob("*")]:
            os.chown(path, 1234, 1234)
    return replace(stack, project=project)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Return once a condition holds. Raises AssertionError if it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def documented(stack: Stack) -> list[list[str]]:
    """Return what `docker compose` is to do by the README, in order, each as arguments."""
    lines = steps(section((stack.project / "README.md").read_text(), "Work in containers"))
    commands = [shlex.split(line, comments=True) for line in lines]
    return [words[2:] for words in commands if words[:2] == ["docker", "compose"]]


def address(compose: Compose) -> str:
    """Return the URL at which the started service answers on this machine."""
    return f"http://{compose('port', 'web', '8000').strip()}"


@pytest.mark.stacks("django-postgres", "django-sqlite")
def test_django_admin_shows_its_page_and_lets_a_user_in(stack: Stack, compose: Compose) -> None:
    compose("up", "--build", "--wait")
    web = address(compose)
    compose(
        "exec", "-T", "--env=DJANGO_SUPERUSER_PASSWORD=tide-and-mast", "web",
        "python", "manage.py", "createsuperuser", "--no-input",
        "--username=ada", "--email=ada@example.org",
    )  # fmt: skip
    assert fetch(f"{web}/readyz")[0] == 200

    browser = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    page = browser.open(f"{web}/admin/login/", timeout=20).read().decode()
    (stylesheet, *_) = re.findall(r'<link rel="stylesheet" href="([^"]+base[^"]*\.css)"', page)
    with browser.open(urllib.parse.urljoin(web, stylesheet), timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/css")
        assert b"body" in response.read()

    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    form = {
        "csrfmiddlewaretoken": token[1],
        "username": "ada",
        "password": "tide-and-mast",
        "next": "/admin/",
    }
    with browser.open(
        f"{web}/admin/login/", urllib.parse.urlencode(form).encode(), timeout=20
    ) as response:
        assert response.url == f"{web}/admin/"
        assert "Log out" in response.read().decode()

    compose("restart", "web")
    compose("up", "--wait")
    if stack.database == "postgres":
        rows = compose(
            "exec", "-T", "database", "psql", "--username=app", "--tuples-only", "--no-align",
            "--command=SELECT username FROM users_user",
        )  # fmt: skip
        assert rows.split() == ["ada"]


@pytest.mark.stacks("fastapi-none")
def test_fastapi_serves_without_a_database(compose: Compose) -> None:
    compose("up", "--build", "--wait")
    web = address(compose)
    assert fetch(f"{web}/readyz")[0] == 200
    assert fetch(f"{web}/docs")[0] == 200
    status, body, _ = fetch(f"{web}/word-counts", method="POST", body={"text": "sea and sea"})
    assert status == 200
    assert json.loads(body)["top"][0] == {"word": "sea", "count": 2}


@pytest.mark.stacks("fastapi-postgres")
def test_fastapi_note_is_still_there_after_a_restart(compose: Compose) -> None:
    compose("up", "--build", "--wait")
    web = address(compose)
    assert fetch(f"{web}/readyz")[0] == 200
    assert fetch(f"{web}/docs")[0] == 200
    status, body, headers = fetch(f"{web}/notes", method="POST", body={"text": "Größe ✓"})
    assert status == 201
    note = json.loads(body)
    assert fetch(urllib.parse.urljoin(web, headers["Location"]))[0] == 200

    compose("restart")
    compose("up", "--wait")
    web = address(compose)
    status, body, _ = fetch(f"{web}/notes/{note['id']}")
    assert (status, json.loads(body)) == (200, note)
    assert fetch(f"{web}/notes/{note['id']}", method="DELETE")[0] == 204
    assert fetch(f"{web}/notes/{note['id']}")[0] == 404


@pytest.mark.stacks("django-postgres", "fastapi-postgres")
def test_a_first_model_gets_into_a_running_container(copied: Stack, tmp_path: Path) -> None:
    """By the commands of the README, while compose watches the files."""
    commands = [
        c
        for c in documented(copied)
        if "migrat" in " ".join(c) or "startapp" in c or "alembic" in c
    ]
    with composing(copied, tmp_path, watching=True) as compose:
        compose("up", "--build", "--wait")
        if copied.framework == "django":
            compose(*commands.pop(0))
        write_model(copied.package, copied.framework)
        folder = copied.package / "shop" if copied.framework == "django" else copied.project
        before = set(folder.glob("migrations/**/*.py"))
        compose(*commands.pop(0))
        (migration,) = (
            set(folder.glob("migrations/**/*.py")) - before - {folder / "migrations/__init__.py"}
        )
        assert migration.stat().st_uid == copied.project.stat().st_uid
        # Compose copies it into the container that runs.
        path = str(migration.relative_to(copied.project))
        wait_until(
            lambda: migration.name in compose("exec", "web", "sh", "-c", f"ls {path} || true")
        )
        for command in commands:
            compose(*command)
        if copied.framework == "django":
            store = f"from {copied.package.name}.shop.models import Boat; Boat(name='Argo').save()"
            compose("exec", "web", "python", "manage.py", "shell", "--command", store)
        else:
            web = address(compose)
            body: dict[str, object] = {"name": "Argo"}
            wait_until(lambda: fetch(f"{web}/boats", method="POST", body=body)[0] == 201)
        table = "shop_boat" if copied.framework == "django" else "boat"
        psql = next(command for command in documented(copied) if "psql" in command)
        assert "Argo" in compose(*psql, f"--command=SELECT * FROM {table}")
        records = compose("logs", "--no-log-prefix", "web").splitlines()
        assert [line for line in records if line.startswith("{")] == []


@pytest.mark.stacks("job-postgres")
def test_a_dependency_is_added_without_uv(copied: Stack, tmp_path: Path) -> None:
    """And the commands of the README work, those for the rows in the database too."""
    with composing(copied, tmp_path) as compose:
        compose("run", "--rm", "migrate")
        rows = next(command for command in documented(copied) if "psql" in command)
        assert "processed_at" in compose(*rows)
        settings = copied.project / "pyproject.toml"
        lines = "    # Yours: `uv add NAME`.\n"
        text = settings.read_text()
        assert text.count(lines) == 1
        settings.write_text(text.replace(lines, lines + '    "itsdangerous",\n'))
        docker_ok("buildx", "bake", "lock", cwd=copied.project)
        compose("run", "--build", "--rm", "tools", "python", "-c", "import itsdangerous")
        for command in documented(copied):
            if command[-1] == "pytest" or command[-2:] == ["ruff", "check"]:
                compose(*command)


@pytest.mark.stacks("fastapi-none")
def test_the_port_can_be_chosen(stack: Stack) -> None:
    config = attempt(
        "docker", "compose", "config", "--format=json",
        cwd=stack.project, env={**os.environ, "PORT": "8001"},
    )  # fmt: skip
    (port,) = json.loads(config.stdout)["services"]["web"]["ports"]
    assert port["published"] == "8001"


@pytest.mark.stacks("django-postgres", "fastapi-postgres")
def test_readiness_follows_the_database(compose: Compose) -> None:
    compose("up", "--build", "--wait")
    web = address(compose)
    compose("stop", "database")
    assert fetch(f"{web}/readyz")[0] == 503
    assert fetch(f"{web}/livez")[0] == 200
    compose("up", "--wait")
    assert fetch(f"{web}/readyz")[0] == 200


@pytest.mark.stacks("django-postgres", "fastapi-postgres", "job-postgres")
def test_the_tests_run_on_postgresql(stack: Stack, compose: Compose) -> None:
    planted = stack.project / "tests" / "test_planted.py"
    planted.write_text(REQUIRES_POSTGRESQL[stack.framework])
    try:
        said = compose("run", "--build", "--rm", "test")
    finally:
        planted.unlink()
    assert re.search(r"=+ \d+ passed in ", said), said


def test_ports_are_open_to_this_machine_alone(stack: Stack) -> None:
    text = docker_ok("compose", "config", "--format=json", cwd=stack.project)
    services = json.loads(text)["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert [port["host_ip"] for port in published] == ["127.0.0.1"] * len(published)
    reached = [name for name in ("web", "database") if name in services]
    assert len(published) == len(reached)
