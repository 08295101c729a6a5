"""`docker compose up`, as the message after a copy says, up to a row in PostgreSQL."""

import http.cookiejar
import json
import re
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.built_projects import Stack
from helpers.docker_engine import docker, docker_ok, fetch
from helpers.postgresql import REQUIRES_POSTGRESQL

Compose = Callable[..., str]


@pytest.fixture
def compose(stack: Stack, tmp_path: Path) -> Iterator[Compose]:
    """Run `docker compose` in the stack's project, apart from every other and on a free port."""
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    files = ["--file", "compose.yaml"]
    if stack.framework != "job":
        override = tmp_path / "override.yaml"
        override.write_text('services: {web: {ports: !override ["127.0.0.1::8000"]}}\n')
        files += ["--file", str(override), "--project-directory", "."]

    def run(*arguments: str) -> str:
        """Return what the command printed. Raises AssertionError with it when it fails."""
        return docker_ok(
            "compose", "--project-name", name, *files, *arguments, cwd=stack.project, timeout=300
        )

    yield run
    docker("compose", "--project-name", name, *files, "down", "--volumes", "--rmi=local",
           cwd=stack.project)  # fmt: skip


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
