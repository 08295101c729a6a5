"""A project is kept fresh on a machine without uv, by the guide's commands as they are written."""

import tomllib
from pathlib import Path

import pytest

from helpers.commands import run
from helpers.docker_engine import gateway
from helpers.markdown_commands import read, section, steps
from helpers.package_index import package_index
from helpers.rendering import copy

ANSWERS = {"framework": "job", "database": "none", "dependency_groups": ["test"]}


@pytest.mark.xdist_group("updates")
def test_a_lock_is_upgraded_without_uv(template: Path, tmp_path: Path) -> None:
    """All of it, and one package of it."""
    project = copy(template, tmp_path / "light", {**ANSWERS, "python_version": "3.13"}).path
    with package_index(gateway()) as index:
        pyproject = project / "pyproject.toml"
        asked = '    "lamp",\n    "wick",\n]\n\n[dependency-groups]'
        text = pyproject.read_text().replace("]\n\n[dependency-groups]", asked)
        pyproject.write_text(f'{text}\n[[tool.uv.index]]\nurl = "{index.url}/simple/"\n')

        def lock(command: str) -> dict[str, str]:
            run("sh", "-c", command, cwd=project)
            packages = tomllib.loads((project / "uv.lock").read_text())["package"]
            return {p["name"]: p["version"] for p in packages if p["name"] in ("lamp", "wick")}

        for name in ("lamp", "wick"):
            index.release(name, "1.0", 300)
        assert lock("docker buildx bake lock") == {"lamp": "1.0", "wick": "1.0"}
        for name in ("lamp", "wick"):
            index.release(name, "1.1", 30)
        assert lock("docker buildx bake lock") == {"lamp": "1.0", "wick": "1.0"}
        everything, one = steps(section(read("keeping-up"), "Without uv on the machine"))
        assert lock(one) == {"lamp": "1.1", "wick": "1.0"}
        assert lock(everything) == {"lamp": "1.1", "wick": "1.1"}
