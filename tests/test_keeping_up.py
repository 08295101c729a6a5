"""The guide that keeps a project fresh, its commands as they are written in a generated project.

An index of the tests has the packages that the guide speaks of, in releases as old as it needs.
The rest comes from the usual one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.git_repositories import TemplateRepository, TrackedProject, template_repository
from helpers.host_python import require_python
from helpers.markdown_commands import Follower, read, section, steps
from helpers.package_index import Index, package_index

pytestmark = pytest.mark.slow

GUIDE = read("keeping-up")
# Few packages, so that a lock is quick.
ANSWERS = {"framework": "job", "database": "none", "dependency_groups": ["test"], "ci": "none"}


@pytest.fixture
def index() -> Iterator[Index]:
    """An index with a package in its first release, and another one."""
    with package_index() as index:
        index.release("lamp", "1.0.0", 300)
        index.release("wick", "1.0", 200)
        yield index


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> TemplateRepository:
    """The template with a release."""
    return template_repository(template, tmp_path / "slipway")


@pytest.fixture
def person(releases: TemplateRepository, index: Index, tmp_path: Path) -> Follower:
    """Who has a project that depends on the package."""
    answers = {**ANSWERS, "python_version": require_python().version}
    project = releases.copy(tmp_path / "harbour-light", answers)
    for name in ("name", "email"):
        project.git("config", f"user.{name}", "test@example.com")
    person = Follower(project, {"UV_INDEX": f"{index.url}/simple/"})
    person.follow(['uv add --quiet --no-sync "lamp~=1.0"', "git add --all", "git commit -qm Start"])
    return person


def follow(person: Follower, title: str, index: Index) -> list[str]:
    """Follow a part of the guide and return what each of its commands prints.

    `uv audit` asks the index: the database of the guide is not for tests.
    """
    said = []
    for line in steps(section(GUIDE, title)):
        asked = line.replace("uv audit", f"uv audit --service-url {index.url}")
        said.append(person.follow([f"{{ {asked}; }} || echo FAILED"]))
    assert said
    return said


def test_the_guide_upgrades(person: Follower, index: Index) -> None:
    """To what the ranges allow and is a week old; and shows what to review."""
    index.release("lamp", "1.1.0", 30, "wick")
    index.release("lamp", "2.0.0", 10)
    index.release("lamp", "1.2.0", 2)
    (outdated,) = follow(person, "See what is old", index)
    assert "lamp v1.0.0 (latest: v2.0.0)" in outdated
    dry_run, upgrade, one = follow(person, "Upgrade", index)
    assert "Update lamp v1.0.0 -> v1.1.0" in dry_run
    assert "Updated lamp v1.0.0 -> v1.1.0" in upgrade
    assert "FAILED" not in one
    assert "Updated" not in one
    assert person.locked["lamp"] == "1.1.0"
    changed, asked, tested = follow(person, "Review", index)
    lines = [" ".join(line.split()[:3]) for line in changed.splitlines()]
    at = lines.index('name = "lamp"')
    assert lines[at + 1 : at + 3] == ['-version = "1.0.0"', '+version = "1.1.0"']
    assert '+name = "wick"' in lines
    assert f'+source = {{ registry = "{index.url}/simple/" }}' in changed
    assert "└── lamp v1.1.0" in asked
    assert "FAILED" not in tested
    (beyond,) = [line for line in section(GUIDE, "Upgrade").split("`") if line.startswith("uv add")]
    person.follow([beyond])
    assert person.locked["lamp"] == "2.0.0"


def test_the_guide_upgrades_one(person: Follower, index: Index) -> None:
    """Others stay, although there is something newer."""
    index.release("lamp", "1.1.0", 30)
    person.follow(['uv add --quiet --no-sync "wick~=1.0"'])
    index.release("wick", "1.1", 30)
    *_, one = steps(section(GUIDE, "Upgrade"))
    person.follow([one])
    assert (person.locked["lamp"], person.locked["wick"]) == ("1.1.0", "1.0")


def test_the_guide_takes_a_fix_early(person: Follower, index: Index) -> None:
    title = "A security fix that is younger than a week"
    index.release("lamp", "1.0.1", 2)
    index.vulnerable["lamp"] = "1.0.1"
    look, exempt, upgrade, look_again, drop, lock = steps(section(GUIDE, title))
    assert (look, exempt[:3], drop[:3]) == (look_again, "sed", "sed")
    person.follow([upgrade])
    assert person.locked["lamp"] == "1.0.0"
    found, _, upgraded, found_later, *_ = follow(person, title, index)
    assert "Fixed in: 1.0.1" in found
    assert "FAILED" in found
    assert "Updated lamp v1.0.0 -> v1.0.1" in upgraded
    assert "Found no known vulnerabilities" in found_later
    # The guide says what happens to who drops the line on the same day.
    assert person.locked["lamp"] == "1.0.0"
    person.follow([exempt, upgrade])
    index.release("lamp", "1.0.1", 8)
    person.follow([drop, lock, "uv lock --check"])
    assert person.locked["lamp"] == "1.0.1"
    assert "exclude-newer-package" not in person.project.read("pyproject.toml")
    assert person.project.changes == [" M uv.lock"]


def test_the_guide_updates_the_template(
    person: Follower, index: Index, releases: TemplateRepository
) -> None:
    person.follow(["uv lock"])
    check, *_ = follow(person, "The template", index)
    assert "up-to-date" in check
    releases.edit("template/parts/dockerfile/macros.jinja", "PYTHONUNBUFFERED=1", "PYTHONUTF8=1")
    pyproject = "template/project/pyproject.toml.jinja"
    text = releases.read(pyproject)
    releases.write(pyproject, text.replace('"structlog~=26.1"', '"structlog~=26.1,!=26.1.99"'))
    releases.release("v1.1.0")
    person.project.commit()
    check, update, lock, _ = steps(section(GUIDE, "The template"))
    assert "1.1.0" in person.follow([f"{check} || true"])
    assert f"docs/keeping-up.md in {releases.path}" in person.follow([update])
    assert "PYTHONUTF8=1" in person.project.read("Dockerfile")
    # The lock does not fit any more, as the message says, and the guide's command mends that.
    assert "FAILED" in person.follow(["uv lock --check || echo FAILED"])
    person.follow([lock, "uv lock --check"])
    changed = [".copier-answers.yml", "Dockerfile", "pyproject.toml", "uv.lock"]
    assert sorted(person.project.changes) == [f" M {name}" for name in changed]


def test_the_guide_takes_defaults_without_a_terminal(
    person: Follower, releases: TemplateRepository
) -> None:
    question = "mascot:\n  type: str\n  help: Mascot\n  default: owl\n"
    releases.write("copier.yml", f"{releases.read('copier.yml')}\n{question}")
    releases.release("v1.1.0")
    _, update, _, unasked = steps(section(GUIDE, "The template"))
    assert "FAILED" in person.follow([f"{update} < /dev/null || echo FAILED", "git checkout ."])
    person.follow([f"{unasked} < /dev/null"])
    assert person.project.rendered.answers["mascot"] == "owl"


def test_the_guide_resolves_a_conflict(person: Follower, releases: TemplateRepository) -> None:
    project = person.project
    project.edit("justfile", "# List the recipes.", "# Mine.")
    releases.edit("template/project/justfile.jinja", "# List the recipes.", "# Theirs.")
    releases.release("v1.1.0")
    project.update()
    named, shown, ours, theirs, *commit = steps(section(GUIDE, "A conflict after an update"))
    assert person.follow([named]).split()[-1] == "justfile"
    person.follow([shown])
    versions = ["# Mine.", "# List the recipes.", "# Theirs."]
    assert [line for line in project.read("justfile").splitlines() if line in versions] == versions
    for command, kept in ((ours, "# Mine."), (theirs, "# Theirs.")):
        person.follow([command])
        assert kept in project.read("justfile")
        assert "<<<" not in project.read("justfile")
    person.follow(commit)
    assert project.changes == []


def test_the_guide_follows_a_template_that_moved(
    person: Follower, releases: TemplateRepository
) -> None:
    moved = releases.path.rename(releases.path.with_name("moved"))
    shell = Follower(person.project, {**person.variables, "SLIPWAY": str(moved)})
    _, update, *_ = steps(section(GUIDE, "The template"))
    assert "FAILED" in shell.follow([f"{update} || echo FAILED"])
    shell.follow([*steps(section(GUIDE, "A template that moved")), update])
    assert f"_src_path: {moved}\n" in person.project.read(".copier-answers.yml")


def test_the_guide_updates_a_subfolder(releases: TemplateRepository, tmp_path: Path) -> None:
    """The workflow that was moved to the top stays there, and does not come back."""
    answers = {**ANSWERS, "ci": "github", "python_version": require_python().version}
    parts = releases.copy(tmp_path / "mono/services/api", answers)
    shutil.rmtree(parts.path / ".git")
    mono = TrackedProject(tmp_path / "mono")
    mono.git("init", "--quiet")
    mono.commit()
    update, *move = steps(section(GUIDE, "A project in a subfolder"))
    person = Follower(mono, {})
    person.follow(move)
    mono.commit()
    releases.edit("template/parts/dockerfile/macros.jinja", "PYTHONUNBUFFERED=1", "PYTHONUTF8=1")
    releases.release("v1.1.0")
    person.follow([update])
    folder = "services/api"
    changed = [f" M {folder}/{name}" for name in (".copier-answers.yml", "Dockerfile")]
    assert sorted(mono.changes) == changed
