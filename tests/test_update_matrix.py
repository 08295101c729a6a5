"""Each release, each kind of change by the template, each kind of edit by an owner: merged.

The releases are made from the working tree, so that no test waits for a published one.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import run
from helpers.git_repositories import (
    OWN_FOLDERS,
    TemplateRepository,
    TrackedProject,
    template_repository,
)
from helpers.host_python import environment, require_python
from helpers.profiles import SETTINGS, Answers
from helpers.rendering import ANSWERS_FILE
from helpers.user_commands import Workshop

# Answers of the first copy, and those that the update changes.
SETS: dict[str, tuple[Answers, Answers]] = {
    "django": ({"framework": "django"}, {}),
    "fastapi": ({"framework": "fastapi", "dependency_groups": ["test", "quality", "docs"]}, {}),
    "job": ({"framework": "job", "base_image": "cuda", "accelerator": "torch"}, {}),
    "single stage": ({"framework": "django", "image_layout": "single-stage"}, {}),
    "with docs": (
        {"framework": "django", "database": "sqlite", "base_image": "ubuntu"},
        {"dependency_groups": ["test", "quality", "dev", "docs"]},
    ),
    "with a database": (
        {"framework": "fastapi", "database": "none", "base_image": "debian"},
        {"database": "postgres"},
    ),
    "with tests": (
        {"framework": "job", "database": "postgres", "dependency_groups": ["quality"]},
        {"dependency_groups": ["test", "quality"]},
    ),
}
# All sets from the first release; from each later one some of them.
CASES = [(name, "v1.0.0") for name in SETS] + [
    (name, f"v1.{1 + place % 2}.0") for place, name in enumerate(SETS)
]

QUESTIONS = """
mascot:
  type: str
  choices: [owl, emu, dodo]
  default: owl
  ask: false

shade:
  type: str
  choices: [red, blue, mauve]
  default: red
  ask: false
"""
# The first by its new name, both without one of their values.
CHANGED = """
animal:
  type: str
  choices: [owl, emu]
  default: "{{ {'dodo': 'emu'}.get(mascot, mascot) if mascot is defined else 'owl' }}"
  ask: false

shade:
  type: str
  choices: [red, blue]
  default: "{{ {'mauve': 'blue'}.get(shade | default(''), 'red') }}"
  ask: false
"""
# Another pin than the working tree's, which the uv of this host is recent enough for.
PIN = "0.13.0"
LOGO = "docs/logo.png"
OLD_LOGO, NEW_LOGO, MY_LOGO = (b"\x89PNG\r\n\x1a\n" + text for text in (b"old", b"new", b"mine"))

README = "template/project/README.md.jinja"
JUSTFILE = "template/project/justfile.jinja"
PYPROJECT = "template/project/pyproject.toml.jinja"

# A job of the owner's, in each file of CI that a project may have.
JOBS = {
    ".github/workflows/ci.yml": "\n  mine:\n    runs-on: ubuntu-24.04\n    steps:\n"
    "      - run: echo mine\n",
    ".gitlab-ci.yml": "\nmine:\n  script:\n    - echo mine\n",
}

Contents = dict[str, bytes]


@pytest.fixture(scope="module")
def releases(template: Path, tmp_path_factory: pytest.TempPathFactory) -> TemplateRepository:
    """A history of four releases; each changes the template in other ways."""
    folder = tmp_path_factory.mktemp("releases")
    shutil.copytree(template, folder / "first")
    (folder / "first/template/project" / LOGO).write_bytes(OLD_LOGO)
    made = template_repository(folder / "first", folder / "slipway")

    # Questions, a line changed, blocks added, a file added.
    made.write("copier.yml", made.read("copier.yml") + QUESTIONS)
    made.edit(JUSTFILE, "# Build the production image.", "# Build the image that ships.")
    settings = "template/parts/dockerfile/macros.jinja"
    made.edit(settings, " PYTHONUNBUFFERED=1", " PYTHONUNBUFFERED=1 MASCOT=1")
    help_section = "## Ask for help\n\nThe {{ mascot }} knows.\n\n"
    made.edit(README, "## Keep up with", f"{help_section}## Keep up with")
    made.edit(
        PYPROJECT, "# Yours: settings", '[tool.mascot]\nname = "{{ mascot }}"\n\n# Yours: settings'
    )
    made.write("template/project/SUPPORT.md", "# Support\n\nAsk us.\n")
    made.release("v1.1.0")

    # A file renamed, a file removed, pins changed, starter code and a binary changed.
    made.git("mv", "template/project/SUPPORT.md", "template/project/HELP.md")
    made.git("rm", "--quiet", "template/project/.gitattributes")
    made.edit("copier.yml", f'"{SETTINGS["uv_version"]["default"]}"', f'"{PIN}"')
    text = made.read(PYPROJECT)
    made.write(PYPROJECT, text.replace('"structlog~=26.1"', '"structlog~=26.1,!=26.1.99"'))
    for path in (made.path / "template/project/src").rglob("*.*"):
        path.write_text(path.read_text() + "# Theirs.\n")
    (made.path / "template/project" / LOGO).write_bytes(NEW_LOGO)
    made.release("v1.2.0")

    # A question renamed, values removed.
    made.edit("copier.yml", QUESTIONS, CHANGED)
    for name in (README, PYPROJECT):
        made.edit(name, "{{ mascot }}", "{{ animal }}")
    made.edit("template/parts/questions.jinja", "set retired = [", "set retired = ['mascot'")
    made.release("v2.0.0")
    return made


def insert(project: TrackedProject, name: str, before: str, text: str) -> None:
    """Put text before the first place of a file that reads `before`."""
    head, found, tail = project.read(name).partition(before)
    assert found, f"no {before!r} in {name}"
    project.write(name, f"{head}{text}{found}{tail}")


def edit(project: TrackedProject) -> None:
    """Do to the template's files what an owner does in a first year."""
    command = ["uv", "add", "--quiet", "--frozen", "--offline", "celery"]
    run(*command, cwd=project.path, env=environment())
    project.edit("pyproject.toml", "line-length = 100", "line-length = 90")
    for name, job in JOBS.items():
        if (project.path / name).exists():
            project.write(name, project.read(name) + job)
    packages = "RUN apt-get update && apt-get install --yes --no-install-recommends graphviz\n"
    insert(project, "Dockerfile", "WORKDIR /app\n", packages)
    insert(project, "compose.yaml", "\nservices:\n", "\nx-mine: 1\n")
    insert(project, "README.md", "## Run\n", "This is mine.\n\n")
    for name in ("README.md", ".gitignore", ".env.example"):
        project.write(name, project.read(name) + "MINE=1\n")
    project.write("pyproject.toml", project.read("pyproject.toml") + '\n[tool.mine]\nmine = "1"\n')
    (project.path / ".editorconfig").unlink()
    project.git("mv", "docker-bake.hcl", "bake.hcl")
    # Reformatted: four spaces to a level.
    hooks = project.read(".pre-commit-config.yaml")
    project.write(".pre-commit-config.yaml", hooks.replace("  ", "    "))


def edit_code(project: TrackedProject) -> None:
    """Do to the owner's files what there is to do to files."""
    package = project.path / "src/my_service"
    project.write("src/my_service/__init__.py", '"""Mine."""\n')
    project.write("src/my_service/mine.py", "MINE = 1\n")
    project.git("mv", "src/my_service/logs.py", "src/my_service/moved.py")
    (package / "logo.png").write_bytes(MY_LOGO)
    if (project.path / LOGO).exists():
        (project.path / LOGO).write_bytes(MY_LOGO)
    for path in (project.path / "tests").glob("test_logs.py"):
        path.unlink()
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace("    ", "  "))
    project.write(".env", "MINE=1\n")


def owned(contents: Contents) -> Contents:
    """Return the part of a project's contents that is its owner's alone."""
    return {name: text for name, text in contents.items() if Path(name).parts[0] in OWN_FOLDERS}


@pytest.mark.parametrize(("name", "release"), CASES)
def test_an_update_is_a_fresh_project_with_the_edits(
    name: str, release: str, releases: TemplateRepository, tmp_path: Path
) -> None:
    """No conflict and no lost line, whatever was edited and whatever the template changed."""
    before, changed = SETS[name]
    before = {**before, "python_version": require_python().version}
    project = releases.copy(tmp_path / "1" / "my-service", before, release)
    made = project.bytes
    edit(project)
    edit_code(project)
    mine = owned(project.bytes)
    moved = project.bytes["bake.hcl"]
    project.update(changed)
    assert project.conflicts == []
    assert project.read(".env") == "MINE=1\n"

    pin = {"uv_version": project.rendered.answers["uv_version"]}
    fresh = releases.copy(tmp_path / "2" / "my-service", before | changed | pin)
    assert project.rendered.answers == fresh.rendered.answers
    starter = {n: text for n, text in owned(fresh.bytes).items() if n not in made}
    edit(fresh)
    templates = {n: text for n, text in fresh.bytes.items() if n not in owned(fresh.bytes)}
    recorded = {ANSWERS_FILE: project.bytes[ANSWERS_FILE], "bake.hcl": moved}
    assert project.bytes == templates | recorded | starter | mine
    assert bool(starter) == bool(changed)


@pytest.mark.parametrize(
    ("mascot", "new", "shade", "new_shade"),
    [
        ("owl", "owl", "red", "red"),
        ("emu", "emu", "blue", "blue"),
        ("dodo", "emu", "mauve", "blue"),
    ],
)
def test_answers_are_carried_over(
    mascot: str,
    new: str,
    shade: str,
    new_shade: str,
    releases: TemplateRepository,
    tmp_path: Path,
) -> None:
    """By defaults: a question by its new name, a value that is gone as what replaces it."""
    answers = {"mascot": mascot, "shade": shade}
    project = releases.copy(tmp_path / "my-service", answers, "v1.1.0")
    project.update()
    assert project.rendered.answers["animal"] == new
    assert project.rendered.answers["shade"] == new_shade
    assert f"The {new} knows." in project.read("README.md")
    assert project.conflicts == []


def test_edits_of_a_renamed_and_of_a_removed_file_are_one_command_away(
    releases: TemplateRepository, tmp_path: Path
) -> None:
    """Both go, with what was edited in them; the message says how to find them."""
    project = releases.copy(tmp_path / "my-service", {}, "v1.1.0")
    for name in ("SUPPORT.md", ".gitattributes"):
        project.write(name, project.read(name) + "# Mine.\n")
    project.update()
    assert project.removed == [".gitattributes", "SUPPORT.md"]
    for name in project.removed:
        project.git("restore", name)
        assert project.read(name).endswith("# Mine.\n")


def test_where_both_change_a_line_both_versions_stay_and_are_reported(
    template: Path, tmp_path: Path
) -> None:
    """In each of the template's files at once: in the last line, of which nothing is an anchor."""
    releases = template_repository(template, tmp_path / "slipway")
    project = releases.copy(tmp_path / "my-service", {"framework": "fastapi"})
    names = [n for n in project.contents if n not in project.code and n != ANSWERS_FILE]
    assert len(names) > 10
    for name in names:
        project.write(name, project.read(name) + "# Mine.\n")
        source = releases.path / "template/project" / name
        if not source.exists():
            source = source.with_name(f"{source.name}.jinja")
        source.write_text(source.read_text() + "# Theirs.\n")
    releases.release("v1.1.0")
    project.update()
    assert sorted(project.conflicts) == sorted(names)
    for name in names:
        assert {"# Mine.", "# Theirs."} <= set(project.read(name).splitlines()), name


def test_a_dirty_tree_is_refused_in_one_line(releases: TemplateRepository, tmp_path: Path) -> None:
    project = releases.copy(tmp_path / "my-service", {}, "v1.0.0")
    project.write("justfile", "# Mine.\n")
    ran = copier(project, "update", "--defaults")
    assert ran.returncode != 0
    (reason,) = ran.stderr.splitlines()
    assert reason.startswith("Destination repository is dirty")
    assert project.changes == [" M justfile"]


def test_renovates_way(releases: TemplateRepository, tmp_path: Path) -> None:
    """The command that Renovate runs: nobody is asked, and nothing is trusted."""
    project = releases.copy(tmp_path / "my-service", {"framework": "job"}, "v1.0.0")
    options = ["--skip-answered", "--defaults", f"--answers-file={ANSWERS_FILE}"]
    ran = copier(project, "update", *options, "--vcs-ref=v1.2.0")
    assert ran.returncode == 0, ran.stderr
    assert "_commit: v1.2.0\n" in project.read(ANSWERS_FILE)
    pin = {"uv_version": SETTINGS["uv_version"]["default"]}
    fresh = releases.copy(tmp_path / "2" / "my-service", {"framework": "job"} | pin, "v1.2.0")
    templates = {n: text for n, text in fresh.contents.items() if n not in fresh.code}
    answers_file = {ANSWERS_FILE: project.read(ANSWERS_FILE)}
    assert project.contents == templates | answers_file | project.code


def test_a_recopy_is_a_fresh_project(releases: TemplateRepository, tmp_path: Path) -> None:
    """It writes everything anew, starter code too; what is the owner's alone stays."""
    project = releases.copy(tmp_path / "my-service", {"framework": "job"}, "v1.0.0")
    edit_code(project)
    project.write("justfile", "# Mine.\n")
    project.commit()
    before = project.bytes
    project.recopy()
    pin = {"uv_version": SETTINGS["uv_version"]["default"]}
    fresh = releases.copy(tmp_path / "2" / "my-service", {"framework": "job"} | pin)
    kept = {name: text for name, text in before.items() if name not in fresh.bytes}
    assert {"src/my_service/mine.py", "src/my_service/moved.py"} <= kept.keys()
    assert project.bytes == kept | fresh.bytes | {ANSWERS_FILE: project.bytes[ANSWERS_FILE]}
    # All of it can be had back.
    project.git("checkout", "HEAD", ".")
    assert {name: project.bytes[name] for name in before} == before


# git, by its argument that the interrupted update comes to: before the project is touched, when
# it is rendered over and the owner's edits are not yet back, and after these were applied.
MOMENTS = {"write-tree": False, "diff-tree": True, "apply": True}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_update_is_undone_by_the_command_that_was_given(
    moment: str, releases: TemplateRepository, tmp_path: Path
) -> None:
    answers = {"framework": "job", "python_version": require_python().version}
    project = releases.copy(tmp_path / "my-service", answers, "v1.0.0")
    edit(project)
    edit_code(project)
    project.commit()
    before = project.bytes
    # A git that sends its caller the signal of Ctrl-C, at its last call of this kind.
    git = shutil.which("git")
    calls = 3 if moment == "diff-tree" else 1
    shim = tmp_path / "bin/git"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\ncase " $* " in *" {moment} "*)\n'
        f'echo x >> {tmp_path}/calls\n[ "$(wc -l < {tmp_path}/calls)" -lt {calls} ] ||\n'
        f'{{ kill -INT $PPID; sleep 1; }};; esac\nexec {git} "$@"\n'
    )
    shim.chmod(0o755)
    ran = copier(project, "update", "--defaults", path=shim.parent)
    assert ran.returncode != 0
    assert "stopped by user" in ran.stderr
    assert bool(project.changes) == MOMENTS[moment]
    (command,) = [line for line in ran.stderr.splitlines() if "git checkout" in line]
    run("sh", "-c", command, cwd=project.path)
    assert project.changes == []
    assert project.bytes == before
    assert project.read(".env") == "MINE=1\n"


def copier(
    project: TrackedProject, *arguments: str, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Copier's command line in a project, for a user without settings of their own."""
    folders = [str(path)] if path else []
    variables = {
        "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
        "HOME": str(project.path.parent),
        "XDG_CONFIG_HOME": str(project.path.parent),
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.com",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.com",
    }
    return subprocess.run(
        [sys.executable, "-m", "copier", *arguments],
        cwd=project.path,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # A test run in the background of a shell ignores the signal, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["django", "with a database"])
def test_an_updated_project_passes_its_own_tests(
    name: str, releases: TemplateRepository, tmp_path: Path
) -> None:
    """Where an answer brought starter code, after a recopy has shown what uses it."""
    before, changed = SETS[name]
    python = {"python_version": require_python().version}
    project = releases.copy(tmp_path / "my-service", before | python, "v1.0.0")
    edit(project)
    project.update(changed)
    assert project.conflicts == []
    if changed:
        project.recopy()
        committed = project.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
        project.git("checkout", "HEAD", *(n for n in committed if n not in project.code))
        # The starter code that the other answer had, and nothing uses any more.
        for path in ("src/my_service/api/word_counts.py", "tests/api/test_word_counts.py"):
            (project.path / path).unlink()
    workshop = Workshop(project.rendered, "")
    workshop.ok("uv sync --quiet")
    workshop.ok("uv run pytest -q")
