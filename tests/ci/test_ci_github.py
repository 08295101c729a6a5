"""GitHub's workflows, run by act: what each event checks, and what turns which job red.

`run:` steps are real: uv installs, ruff, mypy and pytest run. Actions have stand-ins.
"""

import re
import subprocess
from pathlib import Path

import pytest
from history import TemplateRepository, template_repository
from interpreters import environment, require_python, uv
from pipelines import (
    GITHUB_EVENTS,
    PROJECTS,
    Bench,
    CheckOut,
    Checkout,
    Run,
    forget_a_migration,
    on,
)

pytestmark = pytest.mark.slow

FAST = ["django", "fastapi", "job-postgres", "bare"]
# Steps that a pipeline of one speed has once, where the project has what they need.
FAST_CHECKS = {"Lint": "quality", "Format": "quality", "Check types": "quality", "Test": "test"}


def groups(name: str) -> set[str]:
    """Return the dependency groups of a project."""
    return set(PROJECTS[name].get("dependency_groups", ["test", "quality", "dev"]))


def count(run: Run, step: str) -> int:
    """Return how often a step succeeded."""
    return [name for (_, name), result in run.steps.items() if result == "success"].count(step)


@on(*FAST)
def test_a_pull_request_gets_the_fast_checks_once(name: str, check_out: CheckOut) -> None:
    run = check_out(name, "github").act(GITHUB_EVENTS["pull request"])
    jobs = {"plan", "lint", "required"}
    jobs |= {"typecheck"} if "quality" in groups(name) else set()
    jobs |= {"test"} if "test" in groups(name) else set()
    assert run.jobs == dict.fromkeys(jobs, "success"), run.log
    for step, group in FAST_CHECKS.items():
        assert count(run, step) == int(group in groups(name)), run.log
    assert count(run, "The lock fits") == int("quality" not in groups(name))
    print(f"fast, {name}: lint {run.took('lint'):.1f} s, test {run.took('test'):.1f} s")


@on("job")
@pytest.mark.parametrize(
    ("file", "text", "red"),
    [
        ("tests/test_planted.py", "def test() -> None:\n    raise OSError\n", {"test"}),
        ("src/planted.py", "import os\n", {"lint"}),
        ("src/planted.py", "def f(x):\n    return x\n", {"typecheck"}),
    ],
    ids=["broken test", "lint error", "type error"],
)
def test_a_mistake_turns_the_right_job_red(
    name: str, file: str, text: str, red: set[str], branch: CheckOut
) -> None:
    project = branch(name, "github")
    project.write(file, text)
    project.commit()
    run = project.act(GITHUB_EVENTS["pull request"])
    assert run.red == red | {"required"}, run.log


@on("django")
def test_a_missing_migration_turns_the_tests_red(name: str, branch: CheckOut) -> None:
    project = branch(name, "github")
    forget_a_migration(project)
    run = project.act(GITHUB_EVENTS["pull request"], "--job", "test")
    assert run.red == {"test"}, run.log
    assert "Change Meta options on user" in run.log


def make_lock_stale(project: Checkout) -> None:
    """Add a dependency that the lock does not have, in a commit before the last."""
    project.edit("pyproject.toml", "dependencies = [", 'dependencies = [\n    "six",')
    project.commit()
    project.write("README.md", "Edited.\n")
    project.commit()


@on("job", "bare")
def test_a_stale_lock_turns_every_lane_red(name: str, branch: CheckOut) -> None:
    project = branch(name, "github")
    make_lock_stale(project)
    run = project.act(GITHUB_EVENTS["pull request"])
    lanes = {"lint", "typecheck", "test"} if groups(name) else {"lint"}
    assert run.red == {*lanes, "required"}, run.log
    assert "needs to be updated" in run.log


@on("job")
@pytest.mark.parametrize("file", ["Dockerfile", "uv.lock", ".github/workflows/ci.yml"])
def test_a_change_of_the_image_or_of_ci_gets_the_full_checks(
    name: str, file: str, branch: CheckOut
) -> None:
    project = branch(name, "github")
    assert "speed=fast" in project.act(GITHUB_EVENTS["pull request"], "--job", "plan").log
    project.write(file, project.read(file) + "\n# Edited.\n")
    project.commit()
    assert "speed=full" in project.act(GITHUB_EVENTS["pull request"], "--job", "plan").log


def besides_its_group(project: Checkout, run: Run) -> set[str]:
    """Return what the lint lane installed besides the packages of the quality group.

    Raises AssertionError where it did not install the group.
    """
    export = [str(uv()), "export", "--locked", "--only-group", "quality", "--no-hashes"]
    lines = subprocess.run(
        export, cwd=project.path, env=environment(), check=True, capture_output=True, text=True
    ).stdout
    group = set(re.findall(r"^([\w.-]+)==", lines, re.MULTILINE))
    # Lines of uv's, behind the job's name, which GitLab's runner separates with more.
    installed = set(re.findall(r"^\W*lint[\] >]+\+ ([\w.-]+)==", run.log, re.MULTILINE))
    assert {"ruff", "mypy"} <= group & installed
    print(f"{project.platform}, cold: lint {run.took('lint'):.1f} s, {len(group)} packages")
    return installed - group


@on("django")
def test_the_lint_lane_installs_its_group_alone(
    name: str, check_out: CheckOut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a cold cache; `uv run` installs nothing back."""
    project = check_out(name, "github")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    run = project.act(GITHUB_EVENTS["pull request"], "--job", "lint")
    assert run.jobs == {"lint": "success"}, run.log
    assert len(besides_its_group(project, run)) <= 1


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> TemplateRepository:
    """The working tree as a template's first release."""
    return template_repository(template, tmp_path / "slipway")


def from_template(releases: TemplateRepository, folder: Path, platform: str) -> Checkout:
    """Return a project of the newest release."""
    answers = {"framework": "job", "ci": platform, "python_version": require_python().version}
    releases.copy(folder / "my-service", answers)
    project = Checkout(folder / "my-service", Bench(folder / "bench"), platform)
    project.start()
    return project


def test_the_schedule_tells_of_a_newer_template(
    releases: TemplateRepository, tmp_path: Path
) -> None:
    project = from_template(releases, tmp_path, "github")
    run = project.act(GITHUB_EVENTS["schedule"])
    assert run.jobs == {"template": "success"}, run.log
    releases.release("v1.1.0")
    run = project.act(GITHUB_EVENTS["schedule"])
    assert run.jobs == {"template": "failure"}
    assert "1.1.0" in run.log
