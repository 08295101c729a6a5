"""GitLab's pipelines, by gitlab-ci-local: which jobs each kind has, and what turns which red."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.docker_stand_in import SERVICE, kubernetes_problem
from helpers.git_repositories import TemplateRepository
from helpers.host_python import environment, lock, require_python
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
from helpers.postgresql import REQUIRES_POSTGRESQL, PostgresServer
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
    "version tag": "publish",
    "other tag": "",
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
        "documents": {"documents"},
        "schedule": {"template"},
    }[speed]


def pipeline(project: Checkout) -> dict[str, Any]:
    """Return the file of GitLab's pipelines, parsed."""
    parsed: dict[str, Any] = yaml.safe_load(project.read(".gitlab-ci.yml"))
    return parsed


@pytest.mark.parametrize("answers", ROWS.values(), ids=ROWS)
def test_each_kind_of_pipeline_has_each_check_once(
    answers: Answers, render: Render, gitlab: list[str], tmp_path: Path
) -> None:
    shutil.copytree(render(**answers).path, tmp_path / "my-service")
    bench = Bench(tmp_path / "bench", database="localhost:1")
    project = Checkout(tmp_path / "my-service", bench, "gitlab")
    project.start()
    for kind, speed in SPEEDS.items():
        jobs = project.gitlab_jobs(gitlab, GITLAB_KINDS[kind])
        assert len(jobs) == len(set(jobs))
        assert set(jobs) == expected(answers, speed), kind


@pytest.mark.parametrize("answers", CODE.values(), ids=CODE)
def test_each_row_passes_a_merge_request(
    answers: Answers,
    template: Path,
    gitlab: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """On this machine's Python, and without what a network has: PyTorch, and private packages.

    Pipelines log in to those, and trust a company's authority, in tests of their own.
    """
    here = {
        "python_version": require_python().version,
        "python_source": answers["python_source"].replace("apt", "managed"),
        "accelerator": "none",
        "private_dependencies": "none",
        "company_ca": False,
    }
    folder = tmp_path / "my-service"
    copy(template, folder, {**answers, **here})
    lock(folder)
    database = None
    if "@database:" in (folder / ".gitlab-ci.yml").read_text():
        database = request.getfixturevalue("postgresql").address
    project = Checkout(folder, Bench(tmp_path / "bench", database=database), "gitlab")
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


@on("fastapi")
@pytest.mark.parametrize("file", ["src/*/models.py", "migrations/versions/0001_notes.py"])
def test_a_change_of_the_tables_gets_the_full_checks(
    name: str, file: str, branch: CheckOut, gitlab: list[str]
) -> None:
    project = branch(name, "gitlab")
    [path] = project.path.glob(file)
    project.write(path, project.read(path) + "\n# Edited.\n")
    project.commit()
    assert "container" in project.gitlab_jobs(gitlab, GITLAB_KINDS["merge request"])


@on("django")
def test_a_change_of_documents_alone_runs_no_lane(
    name: str, branch: CheckOut, gitlab: list[str]
) -> None:
    """A pipeline there must be: https://docs.gitlab.com/user/project/merge_requests/auto_merge/."""
    project = branch(name, "gitlab")
    main = project.git("merge-base", "HEAD", "origin/main").strip()
    project.git("reset", "--quiet", "--hard", main)
    project.write("README.md", project.read("README.md") + "\nEdited.\n")
    project.write("docs/page.md", "# A page\n")
    project.commit()
    kind = GITLAB_KINDS["merge request"]
    run = project.gitlab(gitlab, kind)
    assert run.jobs == {"documents": "success"}, run.log
    for file in "cmd", "amd", ".env.example", "src/a.pyd", "docs/conf.py":
        project.write(file, "Edited.\n")
        project.commit()
        assert "lint" in project.gitlab_jobs(gitlab, kind), file
        project.git("reset", "--quiet", "--hard", "HEAD~1")


@on("job")
def test_one_word_makes_every_merge_request_full(
    name: str, branch: CheckOut, gitlab: list[str]
) -> None:
    """Its line is in a file whose change is checked in full itself, so it is on main here."""
    project = branch(name, "gitlab")
    project.edit(".gitlab-ci.yml", "SPEED: fast", "SPEED: full")
    project.commit()
    project.git("update-ref", "refs/remotes/origin/main", "HEAD")
    project.write("src/planted.py", "")
    project.commit()
    jobs = project.gitlab_jobs(gitlab, GITLAB_KINDS["merge request"])
    assert set(jobs) == expected({"dependency_groups": groups(name)}, "full")


def value(operand: str, variables: Mapping[str, str]) -> str | None:
    """Return what an operand of a rule stands for: a variable, or a text in quotes."""
    return variables.get(operand[1:]) if operand.startswith("$") else operand.strip("\"'")


def holds(expression: str, variables: Mapping[str, str]) -> bool:
    """Evaluate a rule's `if`, as https://docs.gitlab.com/ci/jobs/job_rules/ has it.

    && binds tighter than ||. A variable alone holds where it is neither empty nor missing.
    """

    def compare(part: str) -> bool:
        left, operator, right = re.fullmatch(r"(\S+)(?: (==|!=|=~) (.+))?", part).groups()  # type: ignore[union-attr]
        if operator is None:
            return bool(value(left, variables))
        if operator == "=~":
            return re.search(right.strip("/"), value(left, variables) or "") is not None
        return (value(left, variables) == value(right, variables)) == (operator == "==")

    return any(all(map(compare, part.split(" && "))) for part in expression.split(" || "))


def cancelled(
    configuration: Mapping[str, Any], variables: Mapping[str, str], running: set[str]
) -> set[str]:
    """Return the running jobs of a pipeline that a newer commit on its branch cancels.

    https://docs.gitlab.com/ci/yaml/#workflowauto_cancelon_new_commit: `interruptible` cancels the
    jobs that are interruptible, `none` cancels nothing, and the first rule that holds may choose
    anew. No pipeline here depends on `changes` before a rule for its kind.
    """
    workflow = configuration["workflow"]
    rule = next(r for r in workflow["rules"] if holds(r["if"], variables) and "changes" not in r)
    mode = rule.get("auto_cancel", workflow["auto_cancel"])["on_new_commit"]
    assert mode in {"interruptible", "none"}
    default = configuration["default"]["interruptible"]
    can = {job for job in running if configuration[job].get("interruptible", default)}
    return can if mode == "interruptible" else set()


@on("django")
def test_a_newer_commit_does_not_stop_what_publishes(name: str, check_out: CheckOut) -> None:
    """On a busy main every pipeline would be stopped before it publishes."""
    configuration = pipeline(check_out(name, "gitlab"))
    running = {"lint", "typecheck", "container"}
    defaults = {"CI_DEFAULT_BRANCH": "main"}
    for kind in "default branch", "version tag":
        assert cancelled(configuration, GITLAB_KINDS[kind] | defaults, running) == set()
    for kind in "merge request", "merge train":
        assert cancelled(configuration, GITLAB_KINDS[kind] | defaults, running) == running
    assert cancelled(configuration, GITLAB_KINDS["default branch"] | defaults, {"publish"}) == set()


@on("job")
@pytest.mark.parametrize(
    "runner",
    [{**SERVICE, "DOCKER_DRIVER": "overlay2"}, {}],
    ids=["GitLab.com", "Kubernetes"],
)
def test_an_image_with_attestations_is_built_on_any_runner(
    name: str, runner: dict[str, str], check_out: CheckOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On GitLab.com the runner's own variables have a driver, which those of a job replace.

    https://docs.gitlab.com/runner/configuration/advanced-configuration/#the-runners-section and
    gitlab-runner's common/build.go, GetAllVariables: the last one counts.
    """
    variables = pipeline(check_out(name, "gitlab"))[".docker"]["variables"]
    for variable in "DOCKER_DRIVER", *SERVICE:
        monkeypatch.delenv(variable, raising=False)
    for variable, text in (runner | variables).items():
        monkeypatch.setenv(variable, text)
    assert kubernetes_problem(["buildx", "bake", "--set", "production.attest=type=sbom"]) is None


@on("django")
def test_publishing_is_done_by_one_job_at_a_time(name: str, check_out: CheckOut) -> None:
    configuration = pipeline(check_out(name, "gitlab"))
    assert configuration["publish"]["resource_group"]
    assert "$" not in configuration["publish"]["resource_group"]


@on("job", "bare")
def test_lanes_that_install_the_same_share_a_cache(name: str, check_out: CheckOut) -> None:
    """One lane writes it, pruned, and mypy's is kept."""
    configuration = pipeline(check_out(name, "gitlab"))
    caches = {
        job: details["cache"] if isinstance(details["cache"], list) else [details["cache"]]
        for job, details in configuration.items()
        if job[0] != "." and "cache" in details
    }
    packages = {
        job: c for job, all_of in caches.items() for c in all_of if ".cache/uv" in c["paths"]
    }
    assert caches.keys() == (set() if name == "bare" else {"typecheck", "test"})
    if name == "job":
        assert packages["test"]["key"] == packages["typecheck"]["key"]
        assert packages["test"]["policy"] == "pull"
        assert any(".mypy_cache" in c["paths"] for c in caches["typecheck"])
        assert configuration["typecheck"]["after_script"] == ["uv cache prune --ci"]


def named(project: Checkout, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the first lines of the job `container`, which check the name of the image."""
    lines = pipeline(project)["container"]["script"][0]
    return subprocess.run(
        ["sh", "-ec", lines],
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )


@on("job")
@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ("main", ""),
        ("v1.0.0-rc.1", ""),
        ("v1.0+x", "No image can have the tag v1.0+x"),
        ("v1/2", "No image can have the tag v1/2"),
        ("v" * 129, "No image can have the tag"),
    ],
)
def test_a_name_that_no_image_can_have_is_refused(
    name: str, ref: str, problem: str, check_out: CheckOut
) -> None:
    tag = {"CI_COMMIT_TAG": ref} if ref.startswith("v") else {"CI_COMMIT_BRANCH": ref}
    variables = {"PUBLISH": "true", "CI_COMMIT_REF_NAME": ref, "CI_DEFAULT_BRANCH": "main", **tag}
    ran = named(check_out(name, "gitlab"), variables)
    assert (ran.returncode == 0) == (not problem)
    assert ran.stderr.startswith(problem)
    assert len(ran.stderr.splitlines()) == bool(problem)


@on("job")
def test_a_tag_that_is_called_like_the_default_branch_is_refused(
    name: str, check_out: CheckOut
) -> None:
    ref = dict.fromkeys(("CI_COMMIT_TAG", "CI_COMMIT_REF_NAME", "CI_DEFAULT_BRANCH"), "v1")
    ran = named(check_out(name, "gitlab"), {"PUBLISH": "true", **ref})
    assert ran.returncode == 1
    assert ran.stderr == "The image of the branch v1 has that tag: choose another name.\n"


@pytest.mark.parametrize("kind", ["git-https", "index"])
@pytest.mark.parametrize(
    ("server", "given", "login"),
    [
        ("git.acme.example:8443", "", "job"),
        ("git.acme.example:8443", "own", "own"),
        ("gitlab.com", "", ""),
        ("gitlab.com", "own", "own"),
        ("", "", ""),
    ],
)
def test_a_jobs_token_goes_to_its_own_gitlab_alone(
    kind: str, server: str, given: str, login: str, render: Render
) -> None:
    """Wherever the packages are, and whatever their host is called."""
    host = "git.acme.example:8443"
    answers = {"private_host": host, "private_index_url": f"https://{host}/api/pypi/simple/"}
    text = render(ci="gitlab", private_dependencies=kind, **answers).read(".gitlab-ci.yml")
    configuration = yaml.safe_load(text)
    name = {"git-https": "GIT_TOKEN", "index": "INDEX_PASSWORD"}[kind]
    for job in "typecheck", "test", "container":
        [line] = [line for line in configuration[job]["script"] if "CI_JOB_TOKEN" in line]
        variables = {"CI_SERVER_FQDN": server, "CI_JOB_TOKEN": "job", name: given}
        ran = subprocess.run(
            ["sh", "-ec", f'{line}\nprintf %s "${name}"'],
            env=environment(variables), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ran.stdout == login
        # Nothing else takes it along.
        assert "CI_JOB_TOKEN" not in json.dumps(configuration[job].get("variables", {}))
    assert "CI_JOB_TOKEN" not in json.dumps(configuration[".private"])


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


@pytest.mark.docker
@on("django", "fastapi", "job-postgres")
def test_the_tests_run_on_postgresql(
    name: str, branch: CheckOut, gitlab: list[str], postgresql: PostgresServer
) -> None:
    """In the service beside the job, which has a name of its own and its own user."""
    project = branch(name, "gitlab")
    framework = name.partition("-")[0]
    project.write("tests/test_planted.py", REQUIRES_POSTGRESQL[framework])
    project.commit()
    run = project.gitlab(gitlab, GITLAB_KINDS["merge request"], "test")
    assert run.red == set(), run.log
    rendered = yaml.safe_load((project.path / ".gitlab-ci.yml").read_text())["test"]
    assert rendered["variables"]["DATABASE_URL"].endswith(f"@{postgresql.address}/app")


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
