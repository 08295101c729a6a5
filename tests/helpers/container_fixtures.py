"""Projects whose images are built.

All tests of one stack share its project and its images, and stay on one worker of xdist.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.built_projects import STACKS, Stack
from helpers.docker_engine import docker_ok, engine_problem
from helpers.profiles import ROOT
from helpers.rendering import copy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in tests/containers, and skip it with the reason where no engine answers."""
    here = ROOT / "tests/containers"
    found = [item for item in items if here in item.path.parents]
    problem = engine_problem() if found else None
    for item in found:
        item.add_marker(pytest.mark.docker)
        if problem is not None:
            item.add_marker(pytest.mark.skip(reason=f"no container engine: {problem}"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a stack once for each, or for those that its marker names."""
    if "stack" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("stacks")
    wanted = marker.args if marker else STACKS
    metafunc.parametrize(
        "stack",
        [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in wanted],
        indirect=True,
        scope="session",
    )


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A generated project, locked by its own bake file."""
    project = tmp_path_factory.mktemp("stack") / request.param
    copy(template, project, STACKS[request.param])
    docker_ok("buildx", "bake", "lock", cwd=project)
    stack = Stack(request.param, STACKS[request.param], project)
    yield stack
    stack.remove_images()
