"""GitLab's pipelines, by gitlab-ci-local: which jobs each kind has, and what turns which red."""

import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.git_repositories import TemplateRepository
from helpers.host_python import environment, require_python, uv
from helpers.pipelines import (
    GITLAB_KINDS,
    Bench,
    CheckOut,
    Checkout,
    besides_its_group,
    forget_a_migration,
    from_template,
    groups,
    make_lock_stale,
    on,
)
from helpers.profiles import QUESTIONNAIRE, Answers
from helpers.rendering import Render, copy

pytestmark = pytest.mark.slow

ROWS = {n: a for n, a in QUESTIONNAIRE.profiles.items() if a.get("ci") == "gitlab"}
# Those that have code: a project that exists brings its own.
CODE = {n: a for n, a in ROWS.items() if not a.get("adopt")}
SPEEDS = {
    "merge request": "fast",
    "labelled merge request": "full",
    "merge train": "full",
    "branch": "",
    "default branch": "publish",
    "tag": "publish",
    "schedule": "schedule",
}


def expected(answers: Answers, speed: str) -> set[str]:
    """Return the jobs that a project has at a speed."""
    chosen = answers.get("dependency_groups", ["test", "quality", "dev"])
    lanes = {"lint"} | ({"typecheck"} if "quality" in chosen else set())
    return {
        "": set(),
        "fast": lanes | ({"test"} if "test" in chosen else set()),
        "full": lanes | {"container"},
        "publish": lanes | {"container", "publish"},
        "schedule": {"template"},
    }[speed]


@pytest.mark.parametrize("answers", ROWS.values(), ids=ROWS)
def test_each_kind_of_pipeline_has_each_check_once(
    answers: Answers, render: Render, gitlab: list[str], tmp_path: Path
) -> None:
    shutil.copytree(render(**answers).path, tmp_path / "my-service")
    project = Checkout(tmp_path / "my-service", Bench(tmp_path / "bench"), "gitlab")
    project.start()
    for kind, speed in SPEEDS.items():
        jobs = project.gitlab_jobs(gitlab, GITLAB_KINDS[kind])
        assert len(jobs) == len(set(jobs))
        assert set(jobs) == expected(answers, speed), kind


@pytest.mark.parametrize("answers", CODE.values(), ids=CODE)
def test_each_row_passes_a_merge_request(
    answers: Answers, template: Path, gitlab: list[str], tmp_path: Path
) -> None:
    """On this machine's Python, and without what a network has: PyTorch, and private packages.

    Pipelines log in to those in tests of their own.
    """
    here = {
        "python_version": require_python().version,
        "python_source": answers["python_source"].replace("apt", "managed"),
        "accelerator": "none",
        "private_dependencies": "none",
    }
    folder = tmp_path / "my-service"
    copy(template, folder, {**answers, **here})
    lock = [str(uv()), "lock", "--quiet"]
    subprocess.run(lock, cwd=folder, env=environment(), check=True)
    project = Checkout(folder, Bench(tmp_path / "bench"), "gitlab")
    project.start()
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"])
    assert run.red == set(), run.log
    assert run.jobs.keys() == expected(answers, "fast")


@on("job")
@pytest.mark.parametrize("file", ["Dockerfile", "uv.lock", ".gitlab-ci.yml"])
def test_a_change_of_the_image_or_of_ci_gets_the_full_checks(
    name: str, file: str, branch: CheckOut, gitlab: list[str]
) -> None:
    project = branch(name, "gitlab")
    kind = GITLAB_KINDS["merge request"]
    assert "container" not in project.gitlab_jobs(gitlab, kind)
    project.write(file, project.read(file) + "\n# Edited.\n")
    project.commit()
    assert "container" in project.gitlab_jobs(gitlab, kind)


@on("django", "bare")
def test_a_merge_request_passes(name: str, check_out: CheckOut, gitlab: list[str]) -> None:
    run = check_out(name, "gitlab").gitlab(gitlab, GITLAB_KINDS["merge request"])
    assert run.red == set(), run.log
    answers = {"dependency_groups": groups(name)}
    assert run.jobs.keys() == expected(answers, "fast")
    if "test" in run.jobs:
        for report in ("% coverage", "xml file: ", "Coverage XML written to file coverage.xml"):
            assert report in run.log
        print(f"fast, {name}: lint {run.took('lint'):.1f} s, test {run.took('test'):.1f} s")


@on("django")
def test_the_lint_lane_installs_its_group_alone(
    name: str, branch: CheckOut, gitlab: list[str]
) -> None:
    """The cache of this lane is in its own folder, and empty."""
    project = branch(name, "gitlab")
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"], "lint")
    assert run.jobs == {"lint": "success"}, run.log
    assert len(besides_its_group(project, run)) <= 1


@on("job")
@pytest.mark.parametrize(
    ("file", "text", "red", "green"),
    [
        ("tests/test_planted.py", "def test() -> None:\n    raise OSError\n", "test", "lint"),
        ("src/planted.py", "import os\n", "lint", "test"),
        ("src/planted.py", "def f(x):\n    return x\n", "typecheck", "lint"),
    ],
    ids=["broken test", "lint error", "type error"],
)
def test_a_mistake_turns_the_right_job_red(
    name: str, file: str, text: str, red: str, green: str, branch: CheckOut, gitlab: list[str]
) -> None:
    project = branch(name, "gitlab")
    project.write(file, text)
    project.commit()
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"], red, green)
    assert run.jobs == {red: "failure", green: "success"}, run.log
    if red == "lint":
        [report] = project.path.rglob("code-quality.json")
        assert "F401" in report.read_text()


@on("django")
def test_a_missing_migration_turns_the_tests_red(
    name: str, branch: CheckOut, gitlab: list[str]
) -> None:
    project = branch(name, "gitlab")
    forget_a_migration(project)
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"], "test")
    assert run.red == {"test"}, run.log
    assert "Change Meta options on user" in run.log


@on("job", "bare")
def test_a_stale_lock_turns_the_lanes_red(name: str, branch: CheckOut, gitlab: list[str]) -> None:
    project = branch(name, "gitlab")
    make_lock_stale(project)
    lanes = {"lint", "test"} if "test" in groups(name) else {"lint"}
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"], *lanes)
    assert run.red == lanes, run.log
    assert "needs to be updated" in run.log


def test_the_schedule_tells_of_a_newer_template(
    releases: TemplateRepository, tmp_path: Path, gitlab: list[str]
) -> None:
    project = from_template(releases, tmp_path, "gitlab")
    releases.release("v1.1.0")
    run = project.gitlab(gitlab, GITLAB_KINDS["schedule"])
    assert run.jobs == {"template": "failure"}
    assert "1.1.0" in run.log
