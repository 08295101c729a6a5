"""Renovate sees each version that a project names; Dependabot, each kind of file."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import attempt
from helpers.host_python import environment, lock, require_python
from helpers.pipelines import NODE
from helpers.profiles import Answers
from helpers.rendering import ANSWERS_FILE, Project, Render

TEMPLATE = "https://github.com/acme/slipway.git"
# Together they name an image of each kind, and each tool with a version of its own.
PROJECTS: dict[str, Answers] = {
    "github": {"ci": "github", "framework": "django"},
    "gitlab": {"ci": "gitlab", "framework": "fastapi", "base_image": "debian"},
    "single-stage": {"ci": "none", "base_image": "cuda", "image_layout": "single-stage"},
}


def extract(project: Project, node_tools: Path, folder: Path) -> list[dict[str, Any]]:
    """Return what Renovate extracts from a project, each dependency with its file.

    The project has a lock, and comes from a template that has releases.
    """
    shutil.copytree(project.path, folder / "my-service")
    lock(folder / "my-service")
    answers = folder / "my-service" / ANSWERS_FILE
    text = re.sub(
        "^_src_path: .*$",
        f"_commit: v1.0.0\n_src_path: {TEMPLATE}",
        answers.read_text(),
        flags=re.MULTILINE,
    )
    answers.write_text(text)
    node = node_tools / NODE / "bin" / "node"
    renovate = node_tools / "renovate" / "dist" / "renovate.js"
    options = ("--platform=local", "--dry-run=extract", "--onboarding=false")
    variables = environment(
        {
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            # Where there is none, nothing of GitHub is looked at. Nothing is looked up here.
            "RENOVATE_GITHUB_COM_TOKEN": "none",
            "RENOVATE_BASE_DIR": str(folder / "renovate"),
            "PATH": os.pathsep.join([str(node.parent), os.environ["PATH"]]),
        }
    )
    ran = attempt(node, renovate, *options, cwd=folder / "my-service", env=variables, timeout=300)
    entries = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    [found] = [e for e in entries if e["msg"] == "Extracted dependencies"] or [None]
    assert found, ran.stdout[-3000:] + ran.stderr
    return [
        dependency | {"file": file["packageFile"], "manager": manager}
        for manager, files in found["packageFiles"].items()
        for file in files
        for dependency in file["deps"]
    ]


def pins(project: Project) -> set[tuple[str, str]]:
    """Return each version that the project's files name, with the file."""
    patterns = {
        "Dockerfile": r"(?:FROM|--from=)[ ]?((?:[\w.-]+/)*[\w.-]+:[\w.-]+)",
        "docker-bake.hcl": r"FROM ((?:[\w.-]+/)*[\w.-]+:[\w.-]+)",
        "compose.yaml": r"image: (\S+)",
        ".gitlab-ci.yml": r"(?:image: |services: \[\")([\w./-]+:[\w.-]+)",
        "pyproject.toml": r"required-version = \">=(.*)\"",
    }
    found = {
        (name, version)
        for name, pattern in patterns.items()
        if (project.path / name).exists()
        for version in re.findall(pattern, project.read(name))
    }
    for path in (project.path / ".github").rglob("*.yml"):
        text, name = path.read_text(), str(path.relative_to(project.path))
        found |= {(name, version) for version in re.findall(r"uses: .*@(\w{40})", text)}
        found |= {(name, version) for version in re.findall(r" version: \"(.*)\"", text)}
    for file in [f for f in project.files if f.suffix == ".yml"]:
        versions = re.findall(r"^ +\w+_VERSION: (.*)", project.read(file), re.MULTILINE)
        found |= {(str(file), version) for version in versions}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("answers", PROJECTS.values(), ids=PROJECTS)
def test_renovate_sees_each_pin(
    answers: Answers, render: Render, node_tools: Path, tmp_path: Path
) -> None:
    project = render(**answers, python_version=require_python().version)
    dependencies = extract(project, node_tools, tmp_path)
    # What has no version has no pin: packages of the distribution, and an extra of a dependency.
    skipped = {d["skipReason"] for d in dependencies if d.get("skipReason")}
    assert skipped <= {"unspecified-version"}
    seen = set()
    for d in dependencies:
        values = {d.get("currentDigest"), d.get("currentValue"), d.get("replaceString")}
        values |= {f"{d.get('depName')}:{d.get('currentValue')}"}
        seen |= {(d["file"], value) for value in values}
    expected = pins(project)
    assert len(expected) > 2
    assert expected - seen == set()
    assert {"copier", "pep621"} <= {d["manager"] for d in dependencies}


def test_renovate_waits_a_week(render: Render) -> None:
    for ci in "github", "gitlab", "none":
        settings = json.loads(render(ci=ci).read("renovate.json"))
        assert settings["minimumReleaseAge"] == "7 days"


def test_dependabot_waits_a_week_and_looks_everywhere(render: Render) -> None:
    project = render(update_bot="dependabot")
    updates = yaml.safe_load(project.read(".github/dependabot.yml"))["updates"]
    ecosystems = ["uv", "docker", "docker-compose", "github-actions"]
    assert [update["package-ecosystem"] for update in updates] == ecosystems
    assert {update["cooldown"]["default-days"] for update in updates} == {7}
    ignored = {i["dependency-name"] for u in updates for i in u.get("ignore", [])}
    assert {"ghcr.io/astral-sh/uv", "python"} <= ignored
