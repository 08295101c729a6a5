"""The guides for projects that exist end in containers that serve."""

import json
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.docker_engine import STRICT, Image, docker, fetch, gateway, running
from helpers.git_repositories import template_repository
from helpers.git_servers import trusting
from helpers.host_python import require_python
from helpers.markdown_commands import GUIDES, Follower, follower

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("compose")]

BASE = "python:3.13-slim-trixie"


@dataclass(frozen=True)
class Served:
    """What a project of a guide answers: in development, and in production by itself."""

    page: str
    text: str
    alone: str
    alone_text: str
    settings: tuple[str, ...] = ()


TIDES = '["ebb","flow"]'
VERSIONS = '{"acme-billing":"1.0.0","beacon":"1.0.0"}'
SERVED = {
    "from-pip": Served("/tides", TIDES, "/tides", TIDES),
    "from-pip-tools": Served(
        *("/", "No berth is free.", "/static/berths/style.css", "max-width: 40em"),
        ("--env=SECRET_KEY=only-for-tests", "--env=ALLOWED_HOSTS=harbour.example"),
    ),
    "from-poetry": Served("/versions", VERSIONS, "/versions", VERSIONS),
}


@pytest.fixture
def base() -> Iterator[str]:
    """A name for the image that stands in for the base image."""
    reference = f"slipway-guide/base:{uuid.uuid4().hex[:12]}"
    yield reference
    docker("image", "rm", "--force", reference)


def make_known(person: Follower, base: str) -> None:
    """Let builds trust the server that stands in for a forge, by files beside the project's own.

    YAML takes JSON.
    """
    trusting(BASE, base, Path(person.variables["SSL_CERT_FILE"]))
    contexts = {BASE: f"docker-image://{base}"}
    bake = {"target": {name: {"contexts": contexts} for name in ("production", "dev", "test")}}
    build = {"build": {"additional_contexts": contexts}}
    for file, content in {
        "docker-bake.override.json": bake,
        "compose.override.yaml": {"services": {"web": build}},
    }.items():
        person.project.write(file, json.dumps(content))


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_ends_in_a_container_that_serves(
    name: str, template: Path, tmp_path: Path, base: str
) -> None:
    """Each of its commands as it is written."""
    if require_python().version != "3.13":
        pytest.skip("the guide's project is for Python 3.13")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("port 8000, which compose.yaml publishes, is taken")
    guide, served = GUIDES[name], SERVED[name]
    releases = template_repository(template, tmp_path / "slipway")
    image = Image(f"{guide.project}:latest")
    with follower(guide, releases.path, tmp_path, gateway()) as person:
        make_known(person, base)
        try:
            person.follow(guide.first + guide.before_the_image + guide.image)
            status, text, _ = fetch(f"http://localhost:8000{served.page}")
            assert (status, served.text in text) == (200, True), text
            with running(image, *STRICT, "--network=none", *served.settings) as container:
                container.wait_until_live()
                status, text = container.get(served.alone, host="harbour.example")
                assert (status, served.alone_text in text) == (200, True), text
        finally:
            folder = str(person.project.path)
            docker("compose", "--project-directory", folder, "down", "--volumes", "--rmi=local")
            docker("image", "rm", "--force", image.reference)
