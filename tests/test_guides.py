"""The guides to uv and to the template work as they are written, up to the image.

What needs a container engine is tried in `containers/test_adopted_image.py`.
"""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from helpers.commands import run
from helpers.git_repositories import TrackedProject, template_repository
from helpers.host_python import require_python
from helpers.markdown_commands import ACME, GUIDES, Follower, follower, read, section, steps
from helpers.rendering import Render

pytestmark = pytest.mark.slow

MIGRATE = "uvx --quiet migrate-to-uv@{}"


@pytest.fixture(autouse=True)
def python() -> None:
    """The projects pin their Python."""
    if require_python().version != "3.13":
        pytest.skip("the projects of the guides are for Python 3.13")


def fails(person: Follower, lines: list[str], why: str) -> None:
    """Check that command lines fail, and that they say why."""
    with pytest.raises(AssertionError, match=why):
        person.follow(lines)


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_works_as_written(name: str, template: Path, tmp_path: Path) -> None:
    guide = GUIDES[name]
    releases = template_repository(template, tmp_path / "slipway")
    with follower(guide, releases.path, tmp_path) as person:
        # One shell: what the first guide exports is for the next one too.
        moved = f"cp uv.lock {tmp_path}/moved.lock"
        said = person.follow([*guide.first, moved, *guide.before_the_image])
        assert person.project.changes == []
        packages = tomllib.loads((tmp_path / "moved.lock").read_text())["package"]
        versions = {package["name"]: package["version"] for package in packages}
        assert versions.items() & guide.pinned.items() == {
            (n, v) for n, v in guide.pinned.items() if n in versions
        }
        # Nothing that was locked moves without a word.
        moves = [item for item in versions.items() if person.locked.get(item[0]) != item[1]]
        for package, version in moves:
            assert re.search(rf"^    {package} +{re.escape(version)} ", said, re.MULTILINE)
        # All that the project itself asked for has the version that it had.
        project = tomllib.loads(person.project.read("pyproject.toml"))["project"]
        direct = {re.split(r"[^\w-]", d)[0] for d in project["dependencies"]}
        direct -= {"whitenoise"} if guide.name == "from-pip-tools" else set()
        assert direct
        assert {n: person.locked[n] for n in direct} == {n: guide.pinned[n] for n in direct}
        answers = person.project.rendered.answers
        # Not the newest Python, which the template would propose.
        assert (answers["package_name"], answers["python_version"]) == (guide.project, "3.13")
        assert person.project.read(".python-version") == "3.13\n"


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_asks_for_few_edits_by_hand(name: str) -> None:
    """Blocks of a console are commands. Others are for an editor."""
    guide = GUIDES[name]
    lines = guide.first + guide.before_the_image + guide.image
    assert len([line for line in lines if line.startswith("cat >> ")]) <= 3


POETRY_LOCK = """[[package]]
name = "six"
version = "1.16.9"
optional = false
python-versions = "*"
files = []

[[package]]
name = "pytest"
version = "8.4.1"
optional = false
python-versions = "*"
files = []

[metadata]
lock-version = "2.1"
python-versions = ">=3.12"
content-hash = "0"
"""
# As `poetry new --flat` writes it.
POETRY_2 = """[project]
name = "lamp-post"
version = "0.1.0"
description = ""
authors = [{name = "Acme", email = "dev@acme.example"}]
requires-python = ">=3.12,<4"
dynamic = ["dependencies"]

[tool.poetry]
packages = [
    {include = "lamp"},
    {include = "bulb"},
]

[tool.poetry.dependencies]
six = "^1.16"

[tool.poetry.group.dev.dependencies]
pytest = "^8.0"

[build-system]
requires = ["poetry-core>=2.0.0,<3.0.0"]
build-backend = "poetry.core.masonry.api"
"""
# As Poetry's page on the non-package mode has it.
WITHOUT_A_PACKAGE = """[tool.poetry]
package-mode = false

[tool.poetry.dependencies]
python = "^3.12"
six = "^1.16"

[tool.poetry.group.test.dependencies]
pytest = "^8.0"
"""
SETTINGS = '[tool.ruff]\nline-length = 79\n\n[tool.pytest.ini_options]\naddopts = "-ra"\n'
SHAPES = {
    "Poetry 2 with dynamic dependencies": (POETRY_2, ["lamp", "bulb"]),
    "Poetry without a package": (WITHOUT_A_PACKAGE, ["bulb"]),
    "Settings of tools alone": (SETTINGS, ["lamp"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_another_shape_works_as_written(shape: str, template: Path, tmp_path: Path) -> None:
    """From its first command to tests that pass, with the locked versions."""
    pyproject, packages = SHAPES[shape]
    project = TrackedProject(tmp_path / "lamp")
    project.write("pyproject.toml", pyproject)
    for package in packages:
        project.write(f"{package}/__init__.py", "import six\n")
    project.write(f"{packages[0]}/tests/__init__.py", "")
    project.write(f"{packages[0]}/tests/test_it.py", f"import {packages[-1]}\n\ndef test(): ...\n")
    project.git("init", "--quiet")
    project.commit()
    shapes = read("adopting-shapes")
    # `poetry.lock` names a version of six that never was.
    gone = steps(section(shapes, "A locked version that the index no longer has"))
    first = steps(section(shapes, shape))
    if "Poetry" in shape:
        project.write("poetry.lock", POETRY_LOCK)
        guide = GUIDES["from-poetry"].first
        (prepare,) = (line for line in guide if "^packages" in line)
        (move,) = (line for line in guide if "migrate-to-uv" in line)
        first += [*gone, prepare, move]
    else:
        first.append("uv add --quiet --no-sync six==1.16.0 && uv add --quiet --dev pytest==8.4.1")
    inside = steps(section(shapes, "Tests inside a package"))
    common = GUIDES["from-pip"].before_the_image
    (copy, merge, remove, test) = (
        next(line for line in common if word in line)
        for word in ("copier copy", "adopt.py merge", "rm adopt.py", "pytest")
    )
    answers = "export ANSWERS='-d framework=job'"
    pin = "uv python pin --quiet 3.13"
    code = ["mkdir src", f"git mv {' '.join(packages)} src/", *inside]
    person = Follower(project, {"SLIPWAY": str(template)})
    said = person.follow([pin, *first, *code, answers, copy, merge, remove, test])
    assert "1 passed" in said
    assert {n: person.locked[n] for n in ("six", "pytest")} == {"six": "1.16.0", "pytest": "8.4.1"}
    assert project.rendered.answers["python_version"] == "3.13"


@pytest.mark.docker
def test_a_second_process_has_its_own_check(render: Render, tmp_path: Path) -> None:
    """Compose takes the guide's file beside the template's."""
    files = render(framework="django", database="postgres").path
    shutil.copy(files / "compose.yaml", tmp_path)
    lines = "\n".join(steps(section(read("adopting-shapes"), "A second process")))
    run("bash", "-ec", lines, cwd=tmp_path)
    config = run("docker", "compose", "config", "--format=json", cwd=tmp_path)
    services = json.loads(config)["services"]
    worker, web = services["worker"], services["web"]
    assert worker["command"] == ["celery", "--app=harbour", "worker"]
    assert (worker.get("ports"), worker["healthcheck"]) == (None, {"disable": True})
    assert worker["build"] == web["build"]
    assert worker["environment"] == web["environment"]
    assert worker["depends_on"] == web["depends_on"]


def test_an_extra_gets_into_an_image(template: Path, tmp_path: Path) -> None:
    """By what the guide has the build say to uv."""
    guide = GUIDES["from-poetry"]
    (groups,) = re.findall(r'BUILD_GROUPS="(.*)"', read(guide.name))
    export = "uv export --quiet --locked --no-default-groups --no-emit-project"
    with follower(guide, template, tmp_path) as person:
        groups_of_ours = groups.replace("--group prod", "--group dev")
        person.follow([*guide.first, f"{export} {groups_of_ours} | grep ^openpyxl=="])
        fails(person, [f"{export} --group dev | grep ^openpyxl=="], "grep")


def test_without_constraints_versions_move(template: Path, tmp_path: Path) -> None:
    """What the guide says they are for, and what the test above would find."""
    guide = GUIDES["from-pip"]
    with follower(guide, template, tmp_path) as person:
        lines = [re.sub(r"--constraints \S+ ", "", line) for line in guide.first]
        assert lines != guide.first
        person.follow(lines)
        assert person.locked["fastapi"] != guide.pinned["fastapi"]


def test_a_git_source_has_no_hash(template: Path, tmp_path: Path) -> None:
    """So what the build does refuses it, and takes the archive that the guide names instead."""
    with follower(GUIDES["from-poetry"], template, tmp_path) as person:
        sync = "uv pip sync --quiet --require-hashes --python .venv"
        export = "uv export --quiet --only-group beacon --no-header --output-file"
        lines = ["uv init --quiet --bare --no-workspace one && cd one", "uv venv --quiet"]
        add = "uv add --quiet --no-sync --group beacon"
        archive = next(line for line in GUIDES["from-poetry"].first if "/archive/" in line)
        url = archive.split('"')[1]
        person.follow([*lines, f'{add} "{url}"', f"{export} a.txt", f"{sync} a.txt"])
        lines = ["cd one", f'{add} "beacon @ git+$FORGE/open/beacon.git@v1.0.0"', f"{export} g.txt"]
        fails(person, [*lines, f"{sync} g.txt"], "must have a hash")


@pytest.fixture(scope="module")
def migrate() -> str:
    """The command that the guides are about, at the version that all of them name."""
    text = "".join(read(name) for name in GUIDES)
    versions = set(re.findall(r"migrate-to-uv`?[@ ](\d+\.\d+\.\d+)", text))
    assert len(versions) == 1
    assert text.count("migrate-to-uv") > len(GUIDES)
    return MIGRATE.format(versions.pop())


def test_migrate_to_uv_fails_with_pip(migrate: str, template: Path, tmp_path: Path) -> None:
    """An empty name; and with one, all pins are dependencies and a folder is gone."""
    with follower(GUIDES["from-pip"], template, tmp_path) as person:
        fails(person, [migrate], 'name = ""')
        requirements = person.project.read("requirements.txt")
        person.project.write("requirements.txt", f"{requirements}-e ./libs/moon\n")
        said = person.follow([f"{migrate} --skip-lock"])
        pyproject = tomllib.loads(person.project.read("pyproject.toml"))
        assert "moon" not in said + str(pyproject)
        assert pyproject["project"]["name"] == ""
        assert "typing-inspection==0.4.5" in pyproject["project"]["dependencies"]


def test_migrate_to_uv_fails_with_pip_tools(migrate: str, template: Path, tmp_path: Path) -> None:
    """An empty name; with one, no dependencies; and the other file only if it is named."""
    guide = GUIDES["from-pip-tools"]
    with follower(guide, template, tmp_path) as person:
        fails(person, [migrate], 'name = ""')
        init = next(line for line in guide.first if line.startswith("uv init"))
        said = person.follow([init, f"{migrate} --skip-uv-checks"])
        pyproject = tomllib.loads(person.project.read("pyproject.toml"))
        assert pyproject["project"]["dependencies"] == [], said
        assert "dependency-groups" not in pyproject
        assert not (person.project.path / "requirements.in").exists()
        assert (person.project.path / "dev-requirements.in").exists()


def test_migrate_to_uv_needs_help_with_poetry(migrate: str, template: Path, tmp_path: Path) -> None:
    """A version with `||`; where the package lies; a bound that the template's server breaks."""
    guide = GUIDES["from-poetry"]
    (before, *_), rest = guide.first, guide.first[1:]
    move = next(i for i, line in enumerate(rest) if "migrate-to-uv" in line)
    with follower(guide, template, tmp_path) as person:
        fails(person, [migrate], re.escape('"||"'))
        person.follow([before, *rest[: move + 1]])
        pyproject = tomllib.loads(person.project.read("pyproject.toml"))
        assert pyproject["tool"]["uv"]["build-backend"]["module-root"] == ""
        assert "uvicorn>=0.40,<0.41" in pyproject["project"]["dependencies"]


def test_projects_name_no_other_host() -> None:
    """What their locks come from is what everybody has, or a server of the tests."""
    files = [p for g in GUIDES.values() for p in g.files.rglob("*.*") if p.is_file()]
    assert {h for p in files for h in re.findall(r"https?://[^/\s\"']+", p.read_text())} == {ACME}
