"""Generated projects with CI, and what their pipelines need of this machine."""

import fcntl
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers.commands import attempt
from helpers.docker_engine import engine_problem
from helpers.git_repositories import TemplateRepository, template_repository
from helpers.host_python import lock, require_python
from helpers.pipelines import NODE, NODE_TOOLS, PROJECTS, Bench, CheckOut, Checkout, remove
from helpers.postgresql import PostgresServer
from helpers.profiles import ROOT
from helpers.rendering import copy
from helpers.user_commands import free_port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `docker` in tests/ci, with the reason, where no engine answers."""
    here = ROOT / "tests/ci"
    marked = [i for i in items if here in i.path.parents and i.get_closest_marker("docker")]
    if marked and (problem := engine_problem()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no container engine: {problem}"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The address of a registry on this machine, or None where its program is missing."""
    program = shutil.which("docker-registry")
    if program is None:
        yield None
        return
    with _serving(program, tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def empty_registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry on this machine that one test has for itself."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not here")
    (tmp_path / "registry").mkdir()
    with _serving(program, tmp_path / "registry") as address:
        yield address


@contextmanager
def _serving(program: str, folder: Path) -> Iterator[str]:
    address = f"localhost:{free_port()}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        for _ in range(100):
            with suppress(urllib.error.URLError):
                urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
                break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def check_out(
    request: pytest.FixtureRequest,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    registry: str | None,
) -> Iterator[CheckOut]:
    """A function that returns one of PROJECTS on a platform, made and locked once a session.

    Its tests only read it; what changes one takes a `branch` of it.
    """
    made: dict[tuple[str, str], Checkout] = {}

    def check_out(name: str, host: str) -> Checkout:
        if (name, host) not in made:
            folder = tmp_path_factory.mktemp("ci")
            package = f"ci_{uuid.uuid4().hex[:12]}"
            python = require_python()
            answers = PROJECTS[name] | {"ci": host, "package_name": package}
            project = folder / "my-service"
            copy(template, project, answers | {"python_version": python.version})
            lock(project)
            database = None
            if host == "gitlab" and "@database:" in (project / ".gitlab-ci.yml").read_text():
                server: PostgresServer = request.getfixturevalue("postgresql")
                database = server.address
            checkout = Checkout(project, Bench(folder / "bench", registry, database), host)
            checkout.start()
            made[name, host] = checkout
        return made[name, host]

    yield check_out
    for checkout in made.values():
        remove(checkout)


@pytest.fixture
def branch(check_out: CheckOut, tmp_path: Path) -> Iterator[CheckOut]:
    """A function like `check_out`, for a copy that its test may change."""
    made = []

    def branch(name: str, host: str) -> Checkout:
        original = check_out(name, host)
        project = tmp_path / "my-service"
        shutil.copytree(original.path, project, symlinks=True)
        bench = Bench(tmp_path / "bench", original.bench.registry, original.bench.database)
        made.append(Checkout(project, bench, host))
        return made[-1]

    yield branch
    for checkout in made:
        remove(checkout)


@pytest.fixture(scope="session")
def node_tools() -> Path:
    """The folder of programs that npm installs once for this machine, node itself among them."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "slipway-tests" / "node"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps({"dependencies": NODE_TOOLS})
    # Workers of a parallel run install one after another, and all but the first find it done.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        manifest, done = folder / "package.json", folder / "done"
        if not done.exists() or done.read_text() != wanted:
            manifest.write_text(wanted)
            options = ("--no-audit", "--no-fund", "--ignore-scripts")
            ran = attempt(npm, "install", *options, cwd=folder)
            if ran.returncode != 0:
                pytest.skip(f"npm cannot install: {ran.stderr.strip()[-200:]}")
            done.write_text(wanted)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def github_parser(node_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that parses workflows as GitHub does and prints their errors.

    The parser imports JSON in a way that node refuses, and a bundler understands.
    """
    bundle = tmp_path_factory.mktemp("parser") / "parse_workflows.mjs"
    node = str(node_tools / NODE / "bin" / "node")
    script = ROOT / "tests/data/parse_workflows.mjs"
    module = (
        "import {createRequire} from 'node:module'; var require = createRequire(import.meta.url);"
    )
    subprocess.run(
        [
            *(node, str(node_tools / "esbuild" / "bin" / "esbuild"), str(script), "--bundle"),
            *("--platform=node", "--format=esm", "--log-level=warning", f"--banner:js={module}"),
            f"--outfile={bundle}",
        ],
        env={**os.environ, "NODE_PATH": str(node_tools)},
        check=True,
    )
    return [node, str(bundle)]


@pytest.fixture(scope="session")
def gitlab(node_tools: Path) -> list[str]:
    """The command of gitlab-ci-local, which copies folders with rsync."""
    if not shutil.which("rsync"):
        pytest.skip("rsync is not here")
    node = node_tools / NODE / "bin" / "node"
    return [str(node), str(node_tools / "gitlab-ci-local" / "dist" / "index.js")]


@pytest.fixture
def skopeo() -> None:
    """Skip where the program is missing by which GitHub's runners copy images."""
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not here")


@pytest.fixture
def published(registry: str | None) -> str:
    """The registry that is published to."""
    if registry is None:
        pytest.skip("docker-registry is not here")
    return registry


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> TemplateRepository:
    """The working tree as a template's first release."""
    return template_repository(template, tmp_path / "slipway")
