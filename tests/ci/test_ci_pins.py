"""The scripts by which the lint lane compares versions and indexes, run as a lane runs them."""

import shutil
import sys
from pathlib import Path

import pytest

from helpers.commands import attempt
from helpers.git_repositories import Repository
from helpers.profiles import Answers
from helpers.rendering import ANSWERS_FILE, Render

SCRIPT = "ci/check_pins.py"


def check_out(render: Render, folder: Path, **answers: object) -> Repository:
    """Copy a rendered project to change it."""
    return Repository(Path(shutil.copytree(render(**answers).path, folder / "my-service")))


def compare(project: Repository, script: str = SCRIPT) -> list[str]:
    """Return the lines that a script prints, and check that its status says whether it did."""
    ran = attempt(sys.executable, script, cwd=project.path, merged=True)
    assert ran.returncode == (1 if ran.stdout else 0)
    return ran.stdout.splitlines()


def place(project: Repository, file: str, text: str) -> str:
    """Return the name of a file and the number of its one line that contains a text."""
    lines = project.read(file).splitlines()
    [number] = [n for n, line in enumerate(lines, start=1) if text in line]
    return f"{file}:{number}"


@pytest.mark.parametrize("layout", ["multi-stage", "single-stage"])
@pytest.mark.parametrize("ci", ["github", "gitlab"])
@pytest.mark.parametrize("bot", ["renovate", "dependabot"])
def test_each_place_that_differs_is_named(
    bot: str, ci: str, layout: str, render: Render, tmp_path: Path
) -> None:
    if bot == "dependabot" and ci == "gitlab":
        pytest.skip("with GitHub only")
    answers: Answers = {"ci": ci, "update_bot": bot, "image_layout": layout}
    answers |= {"python_version": "3.13", "uv_version": "0.13.8"}
    project = check_out(render, tmp_path, **answers)
    assert compare(project) == []
    source = ".tool-versions" if bot == "dependabot" else "pyproject.toml"
    files = {"Dockerfile", "docker-bake.hcl"} if layout == "single-stage" else {"Dockerfile"}
    for file in files | ({".gitlab-ci.yml"} if ci == "gitlab" else set()):
        with_uv = (
            f"{place(project, file, 'astral-sh/uv:0.13.8')}: uv 0.13.7, but {source} names 0.13.8"
        )
        before = project.read(file)
        project.write(file, before.replace("uv:0.13.8", "uv:0.13.7"))
        assert compare(project) == [with_uv]
        project.write(file, before)
    recorded = place(project, ANSWERS_FILE, "uv_version: 0.13.8")
    project.edit(ANSWERS_FILE, "uv_version: 0.13.8", "uv_version: 0.13.7")
    assert compare(project) == [f"{recorded}: uv 0.13.7, but {source} names 0.13.8"]
    project.edit(ANSWERS_FILE, "uv_version: 0.13.7", "uv_version: 0.13.8")
    recorded = place(project, ANSWERS_FILE, "python_version: '3.13'")
    project.edit(ANSWERS_FILE, "python_version: '3.13'", "python_version: '3.12'")
    assert compare(project) == [f"{recorded}: Python 3.12, but .python-version names 3.13"]
    project.edit(ANSWERS_FILE, "python_version: '3.12'", "python_version: '3.13'")
    base = place(project, "Dockerfile", "FROM python:3.13-")
    project.edit("Dockerfile", "FROM python:3.13-", "FROM python:3.12-")
    assert compare(project) == [f"{base}: Python 3.12, but .python-version names 3.13"]


def test_what_the_sources_name_fits_together(render: Render, tmp_path: Path) -> None:
    project = check_out(render, tmp_path, python_version="3.13", update_bot="dependabot")
    project.edit("pyproject.toml", 'required-version = ">=0.12"', 'required-version = ">=99.1"')
    project.edit("pyproject.toml", 'requires-python = ">=3.13"', 'requires-python = "<4,>=3.14.2"')
    uv, python = compare(project)
    assert uv.startswith("pyproject.toml: uv 99.1 is required, but .tool-versions names ")
    assert python == "pyproject.toml: Python 3.14.2 is required, but .python-version names 3.13"


@pytest.mark.parametrize("bound", ['"==0.13.8"', '">= 0.13.8, <1"', '"~=0.13.8"'])
def test_the_lower_bound_can_be_written_in_other_ways(
    bound: str, render: Render, tmp_path: Path
) -> None:
    project = check_out(render, tmp_path, uv_version="0.13.8")
    project.edit("pyproject.toml", '">=0.13.8"', bound)
    assert compare(project) == []


@pytest.mark.parametrize(
    ("file", "old", "said"),
    [
        ("pyproject.toml", 'required-version = ">=0.13.8"\n', "tool.uv.required-version"),
        ("pyproject.toml", 'requires-python = ">=3.13"\n', "project.requires-python"),
        (".python-version", "3.13", ".python-version"),
    ],
)
def test_a_source_without_a_version_is_named(
    file: str, old: str, said: str, render: Render, tmp_path: Path
) -> None:
    project = check_out(render, tmp_path, uv_version="0.13.8", python_version="3.13")
    project.edit(file, old, "")
    [line] = compare(project)
    assert line.endswith(f"{said} names no version")


def test_a_project_without_ci_has_no_script(render: Render) -> None:
    assert not (render(ci="none").path / "ci").exists()


def test_dependabot_can_lock(render: Render) -> None:
    """With the uv that it brings, 0.12.17 in September 2026: dependabot-core issue 13199."""
    project = render(update_bot="dependabot")
    assert 'required-version = ">=0.12"\n' in project.read("pyproject.toml")
    assert f"\nuv {project.answers['uv_version']}\n" in project.read(".tool-versions")
    assert not (render(update_bot="renovate").path / ".tool-versions").exists()


PRIVATE = "https://pypi.example.com/simple/"
PUBLIC = "https://index.example.org/simple/"


def locked(name: str, registry: str, *requires: str, hashed: bool = True) -> str:
    """Return the lock's entry of a package with a wheel."""
    dependencies = ", ".join(f'{{ name = "{required}" }}' for required in requires)
    digest = f', hash = "sha256:{"0" * 64}"' if hashed else ""
    return (
        f'[[package]]\nname = "{name}"\nversion = "1.0"\nsource = {{ registry = "{registry}" }}\n'
        f"dependencies = [{dependencies}]\n"
        f'wheels = [{{ url = "{registry}{name}-1.0-py3-none-any.whl"{digest} }}]\n\n'
    )


@pytest.mark.parametrize(
    ("packages", "named"),
    [
        ([locked("acme-billing", PRIVATE, "acme-ledger"), locked("acme-ledger", PRIVATE)], []),
        (
            [locked("acme-billing", PRIVATE, "acme-ledger"), locked("acme-ledger", PUBLIC)],
            [f"acme-ledger: only private packages need it, but it is from {PUBLIC}."],
        ),
        # What others need too, or has another name, is known.
        ([locked("acme-billing", PRIVATE, "acme-web"), locked("acme-web", PUBLIC),
          locked("harbor", PUBLIC, "acme-web")], []),
        ([locked("acme-billing", PRIVATE, "redis"), locked("redis", PUBLIC)], []),
        (
            [locked("acme-billing", PRIVATE, hashed=False), locked("redis", PUBLIC, hashed=False)],
            ["acme-billing: the private index gives no hash for it, and images need one"],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_what_the_lock_says_of_the_private_index_is_checked(
    ci: str, packages: list[str], named: list[str], render: Render, tmp_path: Path
) -> None:
    project = check_out(render, tmp_path, ci=ci, private_dependencies="index")
    project.write("uv.lock", "version = 1\n\n" + "".join(packages))
    script = "ci/check_private.py"
    found = compare(project, script)
    assert len(found) == len(named)
    assert all(line.startswith(start) for line, start in zip(found, named, strict=True))
    lanes = {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}
    assert f"python3 {script}\n" in project.read(lanes[ci])
    assert not (render(ci=ci).path / script).exists()
