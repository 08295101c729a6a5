"""The full checks: the image is built once, tested, started, asked, scanned and published.

The engine is real, and so is the registry. What stands in for the rest is in helpers/docker_stand_in.py.
"""

import json
import tarfile

import pytest

from helpers.docker_engine import docker_ok
from helpers.pipelines import (
    FAST_CHECKS,
    GITHUB_EVENTS,
    GITLAB_KINDS,
    PROJECTS,
    CheckOut,
    Checkout,
    Run,
    count,
    document,
    forget_a_migration,
    groups,
    leave_out_after_script,
    on,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]

OTHERS = [name for name in PROJECTS if name != "django"]


def full_checks(name: str) -> dict[str, int]:
    """Return how often each step of the full checks runs in a project."""
    answers = PROJECTS[name]
    job = answers["framework"] == "job"
    database = answers.get("database", "none" if job else "postgres")
    return {
        "Build": 1,
        "Test": int("test" in groups(name)),
        "Scan": 1,
        "Migrations": int(database != "none"),
        "Production settings": int(answers["framework"] == "django"),
        "Run once": int(job),
        "Ask over HTTP": int(not job),
    }


def manifest(registry: str, name: str, tag: str) -> tuple[str, str]:
    """Return the digest of a published image, and the one of its configuration."""
    digest, said = document(registry, name, tag)
    return digest, said["config"]["digest"]


def scanned(run: Run) -> str:
    """Return the digest of the configuration of the image that the scan saw."""
    [line] = [line for line in run.log.splitlines() if "scanned " in line]
    return "sha256:" + line.partition("scanned ")[2].split(":")[0].removesuffix(".json")


@pytest.mark.usefixtures("skopeo")
@on("django")
@pytest.mark.parametrize("event", ["labelled pull request", "merge queue"])
def test_the_full_checks_run_once(name: str, event: str, branch: CheckOut) -> None:
    run = branch(name, "github").act(GITHUB_EVENTS[event])
    assert run.jobs == dict.fromkeys(
        ["plan", "lint", "typecheck", "container", "required"], "success"
    ), run.log
    for step, times in (dict.fromkeys(FAST_CHECKS, 1) | full_checks(name)).items():
        assert count(run, step) == times, step
    test = run.seconds["container", "Build"] + run.seconds["container", "Test"]
    print(f"full, {name}: lint {run.took('lint'):.1f} s, test with its image {test:.1f} s")


@pytest.mark.usefixtures("skopeo")
@on(*OTHERS)
def test_every_project_passes_the_full_checks(name: str, branch: CheckOut) -> None:
    """S3.4: CI builds the service on CUDA's image, and the training job."""
    event = GITHUB_EVENTS["labelled pull request"]
    run = branch(name, "github").act(event, "--job", "container")
    assert run.jobs == dict.fromkeys(["plan", "container"], "success"), run.log
    for step, times in full_checks(name).items():
        assert count(run, step) == times, step


@pytest.mark.usefixtures("skopeo")
@on("django")
@pytest.mark.parametrize(("event", "tag"), [("push", "main"), ("tag", "v1.0.0")])
def test_github_publishes_the_image_that_was_tested(
    name: str, event: str, tag: str, branch: CheckOut, published: str
) -> None:
    project = branch(name, "github")
    if event == "tag":
        # Of a commit that no push has published: that one's image would be taken as it is.
        project.write("notes.txt", "for the tag\n")
        project.commit()
    options = ["--var", "SIGN=cosign"] if event == "push" else []
    run = project.act(GITHUB_EVENTS[event], *options)
    assert run.red == set(), run.log
    assert {"lint", "typecheck", "container", "required", "publish"} <= run.jobs.keys()
    digest, configuration = manifest(published, "acme/my-service", tag)
    [archive] = (project.bench.artifacts / "image-ubuntu-24.04").iterdir()
    with tarfile.open(archive) as image:
        index = json.load(image.extractfile("index.json"))  # type: ignore[arg-type]
    assert [m["digest"] for m in index["manifests"]] == [digest]
    assert configuration == scanned(run)
    image_id = docker_ok("image", "inspect", "--format={{.Id}}", f"{project.slug}:ci").strip()
    assert configuration == image_id
    if event == "push":
        signed = project.bench.signed.read_text()
        assert signed == f"sign --yes {published}/acme/my-service@{digest}\n"
    else:
        assert count(run, "Attest") == 1
        assert count(run, "Sign") == 0


@on("django")
def test_gitlab_publishes_the_image_that_was_tested(
    name: str, branch: CheckOut, gitlab: list[str], published: str
) -> None:
    project = branch(name, "gitlab")
    leave_out_after_script(project)
    run = project.gitlab(gitlab, GITLAB_KINDS["version tag"])
    assert run.jobs == dict.fromkeys(["lint", "typecheck", "container", "publish"], "success"), (
        run.log
    )
    for report in ("% coverage", "xml file: "):
        assert report in run.log
    _, configuration = manifest(published, "acme/my-service", "v1.0.0")
    assert configuration == scanned(run)


@on("job-postgres", "cuda-service", "cuda-job")
def test_every_project_passes_the_full_checks_on_gitlab(
    name: str, branch: CheckOut, gitlab: list[str]
) -> None:
    project = branch(name, "gitlab")
    run = project.gitlab(gitlab, GITLAB_KINDS["merge train"], "container")
    assert run.jobs == {"container": "success"}, run.log


def break_a_test(project: Checkout) -> None:
    """Add a test that fails."""
    project.write("tests/test_planted.py", "def test() -> None:\n    raise OSError\n")
    project.commit()


def write_a_migration_for_sqlite(project: Checkout) -> None:
    """Add a migration that PostgreSQL does not understand, and SQLite does."""
    [folder] = project.path.glob("src/*/users/migrations")
    sql = "CREATE TABLE planted (number INTEGER PRIMARY KEY AUTOINCREMENT)"
    lines = [
        "from django.db import migrations",
        "class Migration(migrations.Migration):",
        "    dependencies = [('users', '0001_initial')]",
        f"    operations = [migrations.RunSQL('{sql}')]",
    ]
    project.write(folder / "0002_planted.py", "\n".join(lines) + "\n")
    project.commit()


def be_vulnerable(project: Checkout) -> None:
    """Let one of the installed packages be vulnerable."""
    project.bench.folder.mkdir(parents=True, exist_ok=True)
    project.bench.vulnerable.write_text("structlog\n")


# A mistake, the project in which it is made, the step that fails, and what the log says.
MISTAKES = {
    "broken test": (break_a_test, "django", "Test", "OSError"),
    "missing migration": (
        forget_a_migration,
        "django-sqlite",
        "Migrations",
        "Change Meta options on user",
    ),
    "migration for SQLite": (write_a_migration_for_sqlite, "django", "Test", "AUTOINCREMENT"),
    "vulnerability": (be_vulnerable, "django", "Scan", "scanned"),
}


def mistakes(*names: str) -> pytest.MarkDecorator:
    """Run a test with mistakes, each on the worker that has its project."""
    params = [
        pytest.param(name, marks=pytest.mark.xdist_group(f"ci {MISTAKES[name][1]}"))
        for name in names
    ]
    return pytest.mark.parametrize("mistake", params)


@pytest.mark.usefixtures("skopeo")
@mistakes(*MISTAKES)
def test_a_mistake_turns_the_container_red(mistake: str, branch: CheckOut) -> None:
    plant, name, step, said = MISTAKES[mistake]
    project = branch(name, "github")
    plant(project)
    run = project.act(GITHUB_EVENTS["labelled pull request"], "--job", "container")
    assert run.red == {"container"}, run.log
    assert [s for (_, s), result in run.steps.items() if result == "failure"] == [step], run.log
    assert said in run.log


@mistakes("migration for SQLite", "vulnerability")
def test_a_mistake_turns_the_container_red_on_gitlab(
    mistake: str, branch: CheckOut, gitlab: list[str]
) -> None:
    plant, name, _, said = MISTAKES[mistake]
    project = branch(name, "gitlab")
    plant(project)
    run = project.gitlab(gitlab, GITLAB_KINDS["merge train"], "container")
    assert run.red == {"container"}, run.log
    assert said in run.log
