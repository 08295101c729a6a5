"""What is in the images, how they run, and what an edit costs."""

import contextlib
import http.client
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.built_projects import FRAMEWORKS, MULTI_STAGE, SERVICES, Stack, only
from helpers.docker_engine import STRICT, Image, docker, docker_ok, running
from helpers.dockerfile_model import parse


def settings(stack: Stack) -> list[str]:
    """Return the options that give a production container its settings, and no database."""
    environment: dict[str, str] = {}
    if stack.framework == "django":
        environment |= {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "127.0.0.1"}
    if stack.database == "sqlite":
        environment["DATABASE_URL"] = "sqlite:////tmp/db.sqlite3"
    elif stack.database == "postgres":
        environment["DATABASE_URL"] = "postgresql://app:app@127.0.0.1:1/app"
    return [f"--env={name}={value}" for name, value in environment.items()]


def test_build_without_a_lock_says_what_to_run(stack: Stack, tmp_path: Path) -> None:
    project = tmp_path / "unlocked"
    shutil.copytree(stack.project, project, ignore=shutil.ignore_patterns("uv.lock"))
    done = docker("build", ".", cwd=project)
    assert done.returncode != 0
    said = "uv.lock is missing: run 'uv lock', or 'docker buildx bake lock'"
    assert re.search(rf"^\S+ {re.escape(said)}$", done.stderr, re.MULTILINE), done.stderr


def test_build_with_a_stale_lock_fails(stack: Stack, tmp_path: Path) -> None:
    project = tmp_path / "stale"
    shutil.copytree(stack.project, project)
    manifest = project / "pyproject.toml"
    manifest.write_text(manifest.read_text().replace("dependencies = [", 'dependencies = ["six",'))
    done = docker("build", ".", cwd=project)
    assert done.returncode != 0
    assert "run `uv lock`" in done.stderr


def test_engine_finds_nothing_to_say_about_the_dockerfile(stack: Stack) -> None:
    done = docker("build", "--check", ".", cwd=stack.project)
    assert "no warnings found" in (done.stdout + done.stderr).lower()


@pytest.mark.stacks(*MULTI_STAGE)
def test_production_holds_only_what_it_runs(stack: Stack) -> None:
    """S0.6, S1.2: no tool that built it, and no development group."""
    files = stack.image().files()
    programs = {Path(name).name for name in files if re.search(r"(^|/)s?bin/[^/]+$", name)}
    assert not programs & {"uv", "uvx", "pip", "pip3", "gcc", "cc", "git", "curl", "pytest", "ruff"}
    package = re.compile(r"/(pip|uv|pytest|mypy|debug_toolbar|coverage)/__init__\.py$")
    assert not [name for name in files if package.search(name)]
    leftover = re.compile(r"^(root/\.cache/.|requirements|tmp/.|app/tests|app/pyproject|app/uv)")
    assert not [name for name in files if leftover.search(name)]


def test_production_code_is_roots_and_read_only(stack: Stack) -> None:
    """S4.2"""
    files = stack.image().files()
    loose = [
        name
        for name, item in files.items()
        if name.startswith(("app/", "opt/venv/"))
        and (item.uid != 0 or (not item.issym() and item.mode & 0o022))
    ]
    assert not loose


@pytest.mark.stacks(*MULTI_STAGE)
@pytest.mark.parametrize("source", ["app/src/", "opt/venv/lib/", "the standard library"])
def test_production_is_compiled(stack: Stack, source: str) -> None:
    """S0.7: the application, its dependencies and the standard library."""
    if source == "the standard library":
        source = stack.python("import os; print(os.path.realpath(os.__file__)[1:-5])")
    files = stack.image().files()
    modules = [name for name in files if name.startswith(source) and name.endswith(".py")]
    bytecode = re.compile(r"__pycache__/([^/]+)\.cpython-\d+\.pyc$")
    compiled = {bytecode.sub(r"\1.py", name) for name in files if name.endswith(".pyc")}
    assert modules
    # uv writes this one anew, by a name that no module can have.
    missing = [name for name in modules if name not in compiled and "/_sysconfigdata_" not in name]
    assert not missing


def test_build_options_of_uv_do_not_reach_the_container(stack: Stack) -> None:
    """The environment of a container: what ENV says, beside the base image's, and no ARG."""
    dockerfile = parse((stack.project / "Dockerfile").read_text())
    history = dockerfile.final.history
    said = {name for i in history if i.name == "ENV" for name in i.variables}
    options = {name for i in history if i.name == "ARG" for name in i.variables}
    assert "UV_LINK_MODE" in options
    base = Image(dockerfile.final.lineage[0].image).environment()
    environment = stack.image().environment()
    assert environment.keys() - base.keys() == said - base.keys()
    assert not options & (environment.keys() - base.keys())


def test_production_is_labelled(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bake, whose variables are CI's."""
    image = Image(f"slipway-test/{stack.name}:labelled")
    monkeypatch.setenv("VERSION", "1.2.3")
    monkeypatch.setenv("REVISION", "abc")
    docker_ok("buildx", "bake", f"--set=production.tags={image.reference}", cwd=stack.project)
    stack.builds.append(image)
    labels = image.config()["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abc"


def test_production_has_a_numeric_user(stack: Stack) -> None:
    """S4.2"""
    assert stack.image().config()["User"] == "10001:0"


@pytest.mark.stacks(*SERVICES)
def test_production_serves_where_nothing_is_allowed(stack: Stack) -> None:
    options = (*STRICT, "--network=none", *settings(stack))
    with running(stack.image(), *options) as service:
        service.wait_until_live()
        assert service.get("/livez", host="10.1.2.3")[0] == 200
        status, body = service.get("/readyz")
        if stack.database == "postgres":
            assert status == 503
            assert "database" in body
        else:
            assert status == 200
        for line in service.logs().splitlines():
            assert isinstance(json.loads(line), dict), line


@pytest.mark.stacks("django-postgres", "django-sqlite", "fastapi-postgres", "job-postgres")
def test_missing_setting_ends_the_start_with_its_name(stack: Stack) -> None:
    done = docker("run", "--rm", stack.image().reference, timeout=60)
    assert done.returncode not in (0, 137)
    name = "SECRET_KEY" if stack.framework == "django" else "DATABASE_URL"
    assert name in done.stdout + done.stderr


@pytest.mark.stacks("django-postgres")
@pytest.mark.parametrize("workers", [1, 3])
def test_missing_settings_are_one_record(stack: Stack, workers: int) -> None:
    """However many workers there are: gunicorn stops before it starts any."""
    workers_option = f"--env=WEB_CONCURRENCY={workers}"
    done = docker("run", "--rm", workers_option, stack.image().reference, timeout=60)
    assert done.returncode == 3
    (line,) = (done.stdout + done.stderr).splitlines()
    record = json.loads(line)
    for name in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"):
        assert name in record["error"]


@pytest.mark.stacks("django-sqlite")
def test_malformed_request_gets_an_answer_and_a_record(stack: Stack) -> None:
    """gunicorn answers it: no code of the project sees it."""
    code = (
        "import socket; s = socket.create_connection(('127.0.0.1', 8000), timeout=20);"
        "s.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\nHost: b\\r\\n\\r\\n');"
        "print(s.recv(100).decode().splitlines()[0])"
    )
    with running(stack.image(), *settings(stack)) as service:
        service.wait_until_live()
        assert service.exec("python", "-c", code).stdout == "HTTP/1.1 400 Bad Request\n"
        (record,) = (json.loads(line) for line in service.logs().splitlines() if "HOST" in line)
        assert record["level"] == "warning"
        assert "request_id" not in record


@pytest.mark.stacks(*SERVICES)
def test_health_check_turns_healthy(stack: Stack) -> None:
    with running(stack.image(), "--health-interval=1s", *settings(stack)) as service:
        end = time.monotonic() + 30
        while (health := service.state()["Health"]) and time.monotonic() < end:
            assert isinstance(health, dict)
            if health["Status"] == "healthy":
                return
            time.sleep(0.3)
        pytest.fail(f"{service.state()}\n{service.logs()}")


def slow_request(stack: Stack) -> tuple[str, dict[str, str], bytes, int]:
    """Return path, headers, body and status of a request that needs no database.

    The service reads the body before it answers.
    """
    if stack.framework == "django":
        token = "a" * 32
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={token}",
        }
        return "/admin/login/", headers, f"csrfmiddlewaretoken={token}&username=a".encode(), 200
    path = "/notes" if stack.database == "postgres" else "/word-counts"
    return path, {"Content-Type": "application/json"}, b'{"nothing": true}', 422


@pytest.mark.stacks(*only("django", "fastapi", of=FRAMEWORKS))
def test_stop_finishes_the_request_in_flight(stack: Stack) -> None:
    """A request whose body is still on its way when the container is told to stop."""
    path, headers, body, expected = slow_request(stack)
    options = ("--publish=127.0.0.1::8000", "--env=HTTPS=false", *settings(stack))
    with running(stack.image(), *options) as service:
        service.wait_until_live()
        client = http.client.HTTPConnection("127.0.0.1", service.port(), timeout=20)
        with contextlib.closing(client):
            client.putrequest("POST", path, skip_host=True)
            for name, value in {"Host": "127.0.0.1", **headers}.items():
                client.putheader(name, value)
            client.putheader("Content-Length", str(len(body)))
            client.endheaders(body[:5])
            time.sleep(0.5)
            begin = time.monotonic()
            stop = threading.Thread(target=docker, args=("stop", "--timeout=20", service.name))
            stop.start()
            time.sleep(1.5)
            assert service.state()["Status"] == "running"
            client.send(body[5:])
            assert client.getresponse().status == expected
        stop.join()
        assert time.monotonic() - begin < 10
        # uvicorn ends by the signal itself once it has cleaned up: 128 + 15.
        assert service.state()["ExitCode"] in (0, 143)


@pytest.mark.stacks(*SERVICES)
def test_stop_is_quick_when_idle(stack: Stack) -> None:
    with running(stack.image(), *settings(stack)) as service:
        service.wait_until_live()
        begin = time.monotonic()
        docker_ok("stop", "--timeout=20", service.name)
        assert time.monotonic() - begin < 5
        assert service.state()["ExitCode"] in (0, 143)


@pytest.mark.stacks(*MULTI_STAGE)
def test_tests_pass_in_the_test_image(stack: Stack) -> None:
    done = docker("run", "--rm", *STRICT, "--network=none", stack.image("test").reference)
    assert done.returncode == 0, done.stdout + done.stderr


def test_build_groups_choose_what_is_installed(stack: Stack) -> None:
    """S0.4, S2.2: one build argument adds groups to the image."""
    image = stack.build("production", BUILD_GROUPS="--group prod --group test")
    assert any(name.endswith("site-packages/pytest/__init__.py") for name in image.files())


@pytest.fixture
def edited(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A copy of the stack's project, to be edited, whose image has been built."""
    stack.image()
    project = tmp_path / stack.project.name
    shutil.copytree(stack.project, project)
    edited = Stack(stack.name, stack.answers, project)
    yield edited
    edited.remove_images()


def new_layers(before: Image, after: Image) -> list[str]:
    """Return the layers that a registry which has `before` would still be sent."""
    known = set(before.layers())
    return [layer for layer in after.layers() if layer not in known]


@pytest.mark.stacks("django-sqlite", "fastapi-none")
def test_modules_can_be_renamed(edited: Stack) -> None:
    """No file of the template names a module that is not an entry point."""
    sources = [*edited.package.rglob("*.py")]
    for name in ("access_log", "health", "logs"):
        (module,) = (path for path in sources if path.stem == name)
        module.rename(module.with_stem(f"our_{name}"))
    (edited.package / "mypy_settings.py").unlink(missing_ok=True)
    for path in edited.package.rglob("*.py"):
        names = re.compile(r"\b(access_log|health|logs)\b")
        path.write_text(names.sub(r"our_\1", path.read_text()))
    with running(edited.build(), *STRICT, "--network=none", *settings(edited)) as service:
        service.wait_until_live()
        for line in service.logs().splitlines():
            assert isinstance(json.loads(line), dict), line


@pytest.mark.stacks(*MULTI_STAGE)
def test_code_edit_ships_one_small_layer(stack: Stack, edited: Stack) -> None:
    with (edited.package / "logs.py").open("a") as module:
        module.write("\nEDITED = True\n")
    image = edited.build()
    (layer,) = new_layers(stack.image(), image)
    assert image.layer_size(layer) < 1_000_000


@pytest.mark.stacks(*MULTI_STAGE)
@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("line-length = 100", "line-length = 99"),
        ('version = "0.1.0"', 'version = "0.2.0"'),
        ('"rust-just', '"six",\n    "rust-just'),
    ],
    ids=["lint setting", "version", "dev dependency"],
)
def test_edit_leaves_the_dependency_layer_cached(
    stack: Stack, edited: Stack, found: str, put: str
) -> None:
    manifest = edited.project / "pyproject.toml"
    text = manifest.read_text()
    assert text.count(found) == 1
    manifest.write_text(text.replace(found, put))
    docker_ok("buildx", "bake", "lock", cwd=edited.project)
    assert new_layers(stack.image(), edited.build()) == []


@pytest.mark.stacks(*FRAMEWORKS)
def test_new_dependency_is_installed(stack: Stack, edited: Stack) -> None:
    """The layers of the tests above can change: a dependency of production makes one."""
    manifest = edited.project / "pyproject.toml"
    manifest.write_text(
        manifest.read_text().replace("dependencies = [", 'dependencies = [\n    "six",', 1)
    )
    docker_ok("buildx", "bake", "lock", cwd=edited.project)
    image = edited.build()
    assert new_layers(stack.image(), image)
    docker_ok("run", "--rm", "--entrypoint=python", image.reference, "-c", "import six")
