"""The tutorial's last part, in containers, works as it is written."""

import socket
from pathlib import Path

import pytest

from helpers.docker_engine import docker, fetch
from helpers.git_repositories import template_repository
from helpers.markdown_commands import newcomer, tutorial

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("compose")]


def test_the_tutorial_works_in_containers(template: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("port 8000, which compose.yaml publishes, is taken")
    releases = template_repository(template, tmp_path / "slipway")
    project = tmp_path / "tide-tables"
    person = newcomer(str(releases.path), tmp_path)
    model = [
        line
        for line in tutorial("Add a model")
        if line.startswith("uv run manage.py") or not line.startswith(("uv run", "git"))
    ]
    *lines, down, bake = tutorial("In containers")
    try:
        person.follow([*tutorial("Make a project"), "cp .env.example .env", *model])
        person.follow(["cd tide-tables", *lines])
        status, text, _ = fetch("http://localhost:8000/admin/login/")
        assert (status, "Log in" in text) == (200, True), text
        person.follow(["cd tide-tables", down, bake])
    finally:
        folder = str(project)
        docker("compose", "--project-directory", folder, "down", "--volumes", "--rmi=local")
        docker("image", "rm", "--force", "tide-tables:latest")
