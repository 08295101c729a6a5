"""A project that took an update still makes an image that answers."""

from pathlib import Path

import pytest

from helpers.built_projects import Stack
from helpers.docker_engine import docker_ok, running
from helpers.git_repositories import template_repository

# With a Debian package and a dependency of its own.
ANSWERS = {"framework": "fastapi", "database": "none", "package_name": "tides"}
PACKAGES = "RUN apt-get update && apt-get install --yes --no-install-recommends file\n"


@pytest.mark.xdist_group("updates")
def test_an_updated_image_serves(template: Path, tmp_path: Path) -> None:
    releases = template_repository(template, tmp_path / "slipway")
    project = releases.copy(tmp_path / "my-service", ANSWERS)
    project.edit("Dockerfile", "WORKDIR /app\n", f"{PACKAGES}WORKDIR /app\n")
    project.edit("pyproject.toml", "    # Yours: `uv add NAME`.\n", '    # Yours.\n    "six",\n')
    docker_ok("buildx", "bake", "lock", cwd=project.path)
    releases.edit("template/parts/dockerfile/macros.jinja", "interval=10s", "interval=9s")
    releases.release("v1.1.0")
    project.update({"dependency_groups": ["test", "quality"]})
    assert project.conflicts == []
    stack = Stack("updated", ANSWERS, project.path)
    docker_ok("buildx", "bake", "lock", cwd=project.path)
    try:
        assert stack.python("import six; print(six.__name__)") == "six"
        assert "usr/bin/file" in stack.image().files()
        with running(stack.image()) as container:
            container.wait_until_live()
    finally:
        stack.remove_images()
