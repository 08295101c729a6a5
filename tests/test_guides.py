"""The guides to uv and to the template work as they are written, up to the image.

What needs a container engine is tried in `containers/test_adopted_image.py`.
"""

import re
import tomllib
from pathlib import Path

import pytest

from helpers.git_repositories import template_repository
from helpers.host_python import require_python
from helpers.markdown_commands import ACME, GUIDES, Follower, follower, read

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
        person.follow([*guide.first, moved, *guide.before_the_image])
        assert person.project.changes == []
        packages = tomllib.loads((tmp_path / "moved.lock").read_text())["package"]
        versions = {package["name"]: package["version"] for package in packages}
        assert versions.items() & guide.pinned.items() == {
            (n, v) for n, v in guide.pinned.items() if n in versions
        }
        # All that the project itself asked for has the version that it had.
        project = tomllib.loads(person.project.read("pyproject.toml"))["project"]
        direct = [re.split(r"[^\w-]", d)[0] for d in project["dependencies"]]
        assert direct
        assert {n: person.locked[n] for n in direct} == {n: guide.pinned[n] for n in direct}
        assert person.project.rendered.answers["package_name"] == guide.project


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
        said = person.follow([guide.first[0], f"{migrate} --skip-uv-checks"])
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
