"""GitHub's workflows, run by act: what each event checks, and what turns which job red.

`run:` steps are real: uv installs, ruff, mypy and pytest run. Actions have stand-ins.
"""

import re
from pathlib import Path

import pytest

from helpers.docker_engine import engine_problem
from helpers.git_repositories import TemplateRepository
from helpers.pipelines import (
    FAST_CHECKS,
    GITHUB_EVENTS,
    CheckOut,
    Checkout,
    besides_its_group,
    count,
    forget_a_migration,
    from_template,
    groups,
    make_lock_stale,
    on,
)

pytestmark = pytest.mark.slow

FAST = ["django", "fastapi", "job-postgres", "bare"]


def require_database(project: Checkout) -> None:
    """Skip where the tests of a project need PostgreSQL and no engine can start it."""
    if "postgres:" in project.read("compose.yaml") and (problem := engine_problem()):
        pytest.skip(f"no container engine: {problem}")


@on(*FAST)
def test_a_pull_request_gets_the_fast_checks_once(name: str, check_out: CheckOut) -> None:
    project = check_out(name, "github")
    require_database(project)
    run = project.act(GITHUB_EVENTS["pull request"])
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
    """Also where the change that forgot it was merged before."""
    project = branch(name, "github")
    require_database(project)
    forget_a_migration(project)
    change(project, "notes.txt")
    run = project.act(GITHUB_EVENTS["pull request"], "--job", "test")
    assert run.red == {"test"}, run.log
    assert "Change Meta options on user" in run.log


@on("job", "bare")
def test_a_stale_lock_turns_every_lane_red(name: str, branch: CheckOut) -> None:
    project = branch(name, "github")
    make_lock_stale(project)
    run = project.act(GITHUB_EVENTS["pull request"])
    lanes = {"lint", "typecheck", "test"} if groups(name) else {"lint"}
    assert run.red == {*lanes, "required"}, run.log
    assert "needs to be updated" in run.log


def speed(project: Checkout, event: str = "pull request") -> str:
    """Return the speed that the workflow chooses."""
    run = project.act(GITHUB_EVENTS[event], "--job", "plan")
    [chosen] = set(re.findall(r"set-output:: speed=(\w+)", run.log))
    return str(chosen)


def change(project: Checkout, *files: str) -> None:
    """Change files, or write new ones, in one commit."""
    for file in files:
        before = project.read(file) if (project.path / file).exists() else ""
        project.write(file, f"{before}\n# Edited.\n")
    project.commit()


@on("job")
@pytest.mark.parametrize("file", ["Dockerfile", "uv.lock", ".github/workflows/ci.yml"])
def test_a_change_of_the_image_or_of_ci_gets_the_full_checks(
    name: str, file: str, branch: CheckOut
) -> None:
    project = branch(name, "github")
    assert speed(project) == "fast"
    change(project, "README.md", file)
    assert speed(project) == "full"


@on("django")
@pytest.mark.parametrize(
    "file", ["src/a/users/models.py", "src/a/users/migrations/0002.py", "src/a/models/b.py"]
)
def test_a_change_of_the_models_gets_the_full_checks(
    name: str, file: str, branch: CheckOut
) -> None:
    """Of those of a database, that is, not of all code whose name has the word."""
    project = branch(name, "github")
    change(project, "src/a/car_models.py", "src/a/model.py")
    assert speed(project) == "fast"
    change(project, file)
    assert speed(project) == "full"


@on("bare")
def test_a_change_of_documents_runs_no_lane(name: str, branch: CheckOut) -> None:
    """Markdown among the code may be part of it. What is pushed is checked as a whole."""
    project = branch(name, "github")
    change(project, "README.md", "docs/new.md", "docs/pictures/one.txt")
    run = project.act(GITHUB_EVENTS["pull request"])
    assert run.jobs == {"plan": "success", "required": "success"}, run.log
    assert speed(project, "labelled pull request") == speed(project, "push") == "full"
    change(project, "docs/new.md", "src/prompts/one.md")
    assert speed(project) == "fast"


@on("bare")
def test_one_line_gives_every_pull_request_the_full_checks(name: str, branch: CheckOut) -> None:
    project = branch(name, "github")
    project.edit(".github/workflows/ci.yml", "  PULL_REQUESTS: fast\n", "  PULL_REQUESTS: full\n")
    change(project, "notes.txt")
    change(project, "notes.txt")
    assert speed(project) == "full"
    change(project, "README.md")
    assert speed(project) == "none"


@on("fastapi")
def test_mypy_starts_from_the_cache_of_main(name: str, branch: CheckOut) -> None:
    """It is written for main alone, once for each lock."""
    project = branch(name, "github")

    def log(event: str) -> str:
        run = project.act(GITHUB_EVENTS[event], "--job", "typecheck")
        assert run.jobs["typecheck"] == "success", run.log
        return run.log

    assert "Cache restored from key: mypy-" not in log("pull request")
    assert "Cache saved with key: mypy-" in log("push")
    later = log("pull request")
    assert "Cache restored from key: mypy-" in later
    assert "Cache saved with key: mypy-" not in later


@on("django")
def test_the_lint_lane_installs_its_group_alone(
    name: str, check_out: CheckOut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a cold cache; `uv run` installs nothing back."""
    project = check_out(name, "github")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    run = project.act(GITHUB_EVENTS["pull request"], "--job", "lint")
    assert run.jobs == dict.fromkeys(["plan", "lint"], "success"), run.log
    assert len(besides_its_group(project, run)) <= 1


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
