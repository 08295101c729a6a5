"""Fixtures that all tests share: the template as it is now, and projects made from it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.docker_engine import engine_problem
from helpers.postgresql import PostgresServer, postgres_server
from helpers.profiles import QUESTIONNAIRE, Answers
from helpers.rendering import TEMPLATE_FILES, Project, Render, compiled_once, copy, snapshot

# The modules with fixtures of the tests in ci/ and containers/.
pytest_plugins = [
    "helpers.container_fixtures",
    "helpers.pipeline_fixtures",
    "helpers.private_access",
]

# Example projects have tests of their own.
collect_ignore = ["data"]


@pytest.fixture(scope="session", autouse=True)
def jinja_compiled_once() -> Iterator[None]:
    """Let Copier compile no template twice, which halves what a copy or an update takes."""
    with compiled_once():
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's working tree as it was when the tests started, in a folder of its own."""
    return snapshot(tmp_path_factory.mktemp("template") / "slipway")


@pytest.fixture(scope="session")
def copier_template_paths() -> list[str]:
    """What pytest-copier takes for the template."""
    return list(TEMPLATE_FILES)


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """A function that returns the project of some answers, rendered once a session.

    Its callers only read the project: what changes one makes a copy of its own.
    """
    rendered: dict[str, Project] = {}

    def render(**answers: Any) -> Project:
        key = json.dumps(answers, sort_keys=True)
        if key not in rendered:
            folder = tmp_path_factory.mktemp("render") / "my-service"
            rendered[key] = copy(template, folder, answers)
        return rendered[key]

    return render


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a profile once for each of them, those of one on the same worker."""
    if "profile" in metafunc.fixturenames:
        metafunc.parametrize(
            "profile",
            [
                pytest.param(answers, id=name, marks=pytest.mark.xdist_group(name))
                for name, answers in QUESTIONNAIRE.profiles.items()
            ],
        )


@pytest.fixture
def project(profile: Answers, render: Render) -> Project:
    """The project of a profile, to be read only."""
    return render(**profile)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for all projects of this session."""
    if problem := engine_problem():
        pytest.skip(f"no container engine: {problem}")
    with postgres_server() as server:
        yield server
