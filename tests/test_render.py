"""What each profile renders is whole: it parses, lints, is formatted and follows the rules."""

import json
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers.commands import attempt, run, tool
from helpers.dockerfile_model import parse as parse_dockerfile
from helpers.dockerfile_rules import findings
from helpers.file_formats import parse, untidiness
from helpers.profiles import Answers
from helpers.rendering import Project, Render

MOST_FILES = 60

# hadolint's rules that do not hold here, and why.
HADOLINT_IGNORED = {
    "SC2086": "build arguments such as BUILD_GROUPS hold several options, to be split",
}


HADOLINT = ["hadolint", *(f"--ignore={name}" for name in HADOLINT_IGNORED), "Dockerfile"]
JUST = ["just", "--fmt", "--check", "--unstable"]
RUFF_CHECK = ["ruff", "check", "--no-cache"]
RUFF_FORMAT = ["ruff", "format", "--diff", "--no-cache"]


def docker_plugin(name: str) -> list[str]:
    """Return the command of a plugin of Docker's, or skip where it is not installed."""
    if not shutil.which("docker"):
        pytest.skip("no docker command")
    if attempt("docker", name, "version").returncode != 0:
        pytest.skip(f"no docker {name}")
    return ["docker", name]


def check(command: Sequence[str], *options: str | Path, cwd: Path) -> None:
    """Run a linter of the dev group that must find nothing."""
    run(tool(command[0]), *command[1:], *options, cwd=cwd)


@pytest.fixture
def ruff_configuration(profile: Answers, render: Render) -> Path:
    """The project's own settings of ruff, or those it would have with the quality group."""
    groups = {"test", "quality", "dev"} | set(profile.get("dependency_groups", []))
    whole = profile | {"dependency_groups": sorted(groups), "adopt": False}
    return render(**whole).path / "pyproject.toml"


def test_there_are_few_files(project: Project) -> None:
    assert len(project.files) <= MOST_FILES


def test_every_file_parses(project: Project) -> None:
    for name in project.files:
        parse(name, project.read(name))


def test_every_file_is_tidy(project: Project) -> None:
    found = {str(name): list(untidiness(name, project.read(name))) for name in project.files}
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_no_folder_is_empty(project: Project) -> None:
    folders = {path for path in project.path.rglob("*") if path.is_dir()}
    assert [folder for folder in folders if not any(folder.iterdir())] == []


def test_ruff_finds_nothing(project: Project, ruff_configuration: Path) -> None:
    check(RUFF_CHECK, "--config", ruff_configuration, cwd=project.path)


def test_ruff_would_change_nothing(project: Project, ruff_configuration: Path) -> None:
    check(RUFF_FORMAT, "--config", ruff_configuration, cwd=project.path)


def test_dockerfile_has_no_trap(project: Project) -> None:
    found = findings(parse_dockerfile(project.read("Dockerfile")))
    if project.answers["image_layout"] == "single-stage":
        # Left in on purpose.
        found = [line for line in found if "uv is in the final image" not in line]
    assert found == []


def test_hadolint_finds_nothing(project: Project) -> None:
    check(HADOLINT, cwd=project.path)


@pytest.mark.parametrize("image_layout", ["multi-stage", "single-stage"])
@pytest.mark.parametrize("base_image", ["slim", "debian", "ubuntu", "cuda"])
def test_packages_make_no_trap(base_image: str, image_layout: str, render: Render) -> None:
    """Free text is not in the profiles, but these two questions change the stages."""
    project = render(
        base_image=base_image,
        image_layout=image_layout,
        accelerator="torch" if base_image == "cuda" else "none",
        runtime_packages="libpango-1.0-0, gdal-bin",
        build_packages="build-essential libpq-dev",
    )
    text = project.read("Dockerfile")
    assert list(untidiness("Dockerfile", text)) == []
    check(HADOLINT, cwd=project.path)
    if image_layout == "multi-stage":
        assert findings(parse_dockerfile(text)) == []
        shipped = parse_dockerfile(text).final.history
        assert not [line for line in shipped if "build-essential" in line.text]


def test_just_would_change_nothing(project: Project) -> None:
    check(JUST, cwd=project.path)


def test_compose_reads_its_file(project: Project) -> None:
    run(*docker_plugin("compose"), "config", "--quiet", cwd=project.path)


def test_bake_builds_targets_of_the_dockerfile(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    bake = docker_plugin("buildx")
    stages = {stage.name for stage in parse_dockerfile(project.read("Dockerfile")).stages}
    targets = ["production", *(stages & {"test", "dev"}), "lock"]
    # Where it passes an agent on, there must be a socket; its path cannot be long.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{folder}/agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/agent")
        printed = json.loads(run(*bake, "bake", "--print", *targets, cwd=project.path))
    named = {target["target"] for target in printed["target"].values() if "target" in target}
    # A single stage has no targets: groups of dependencies make the difference.
    multi_stage = project.answers["image_layout"] == "multi-stage"
    assert named == (set(targets) if multi_stage else set())


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        (RUFF_CHECK, "a.py", "import os\n"),
        (RUFF_CHECK, "a.py", "def\n"),
        (RUFF_FORMAT, "a.py", "a=1\n"),
        (HADOLINT, "Dockerfile", "FROM debian\n"),
        (HADOLINT, "Dockerfile", "FROM debian:13 AS a\nRUN cd /tmp && echo\n"),
        (JUST, "justfile", "a:\n  echo\n"),
        (JUST, "justfile", "a\n"),
    ],
)
def test_mistakes_are_noticed(command: list[str], name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AssertionError):
        check(command, cwd=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.toml", "[a]\n[a]\n", "Cannot declare"),
        ("a.yml", "a: 1\nb: 2\na: 3\n", "a stands twice"),
        ("a.yaml", "a: [1\n", "expected"),
        ("a.json", "{,}\n", "Expecting"),
        ("a.ini", "[a\n", "no section headers"),
        ("a.hcl", 'a { b = "}" \n', "} is missing"),
        ("a.hcl", "a = [)\n", "too many"),
        (".env.example", "A b\n", "not a variable"),
        ("a.unknown", "", "unknown"),
    ],
)
def test_what_does_not_parse_is_noticed(name: str, text: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        parse(name, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\r\n", "a carriage return"),
        ("\ta\n", "a tab"),
        ("a", "not one newline at the end"),
        ("a\n\n", "not one newline at the end"),
        ("\na\n", "an empty line at the start"),
        ("a \n", "a space at the end of a line"),
        ("a\n\n\nb\n", "two empty lines in a row"),
        ("a {{ b }}\n", "Jinja: {{ b }}"),
        ("{% if a %}\n", "Jinja: {% if a %}"),
        ("a {# b #}\n", "Jinja: {# b #}"),
    ],
)
def test_untidiness_is_noticed(text: str, problem: str) -> None:
    assert list(untidiness("a.toml", text)) == [problem]


def test_what_is_tidy_passes() -> None:
    assert list(untidiness("a.yml", "a: ${{ github.sha }}\n\nb: 1\n")) == []
    assert list(untidiness("a.py", "a = 1\n\n\nb = 2\n")) == []
