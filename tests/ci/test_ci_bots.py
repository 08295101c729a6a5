"""Renovate sees each version that a project names; Dependabot, each kind of file."""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import run
from helpers.host_python import environment, lock, require_python
from helpers.pipelines import NODE
from helpers.profiles import ROOT, Answers
from helpers.rendering import ANSWERS_FILE, Project, Render
from helpers.renovate import extracted, run_renovate
from helpers.update_sources import Published, update_sources

TEMPLATE = "https://github.com/acme/slipway.git"
# By these names bots may know uv.
UV = ("uv", "astral-sh/uv", "ghcr.io/astral-sh/uv")
# Together they name an image of each kind, and each tool with a version of its own.
PROJECTS: dict[str, Answers] = {
    "github": {"ci": "github", "framework": "django"},
    "gitlab": {"ci": "gitlab", "framework": "fastapi", "base_image": "debian"},
    "single-stage": {"ci": "none", "base_image": "cuda", "image_layout": "single-stage"},
}


def with_releases(project: Project, folder: Path) -> Path:
    """Return a copy of a project, in a folder, that comes from a template that has releases."""
    copy = folder / "my-service"
    if not copy.exists():
        shutil.copytree(project.path, copy)
    answers = copy / ANSWERS_FILE
    text = re.sub(
        "^(_commit: .*\n)?_src_path: .*$",
        f"_commit: v1.0.0\n_src_path: {TEMPLATE}",
        answers.read_text(),
        flags=re.MULTILINE,
    )
    answers.write_text(text)
    return copy


def extract(project: Project, node_tools: Path, folder: Path) -> list[dict[str, Any]]:
    """Return what Renovate extracts from a project with a lock, each dependency with its file."""
    lock(shutil.copytree(project.path, folder / "my-service"))
    return extracted(with_releases(project, folder), node_tools, folder / "renovate")


@dataclass(frozen=True)
class Update:
    """An update that a branch of Renovate's would bring."""

    branch: str
    file: str
    name: str
    kind: str
    value: str
    # Held back: a branch is made of the others, or waits where there are none.
    pending: bool
    # As Renovate logs it.
    upgrade: Mapping[str, Any] = field(repr=False)


def updates(project: Project, published: Published, node_tools: Path, folder: Path) -> list[Update]:
    """Return what Renovate would do where these versions are published, by its own decision.

    That is what it logs when it makes up a branch; the level of this line is raised, as the rest of
    that level is some hundred megabytes.
    """
    settings = {"logLevelRemap": [{"matchMessage": "generateBranchConfig", "newLogLevel": "debug"}]}
    with update_sources(published, folder) as proxy:
        git = f"[http]\n\tproxy = {proxy.address}\n\tsslCAInfo = {proxy.authority}\n"
        (folder / ".gitconfig").write_text(git)
        copy = with_releases(project, folder)
        entries = run_renovate(
            *(copy, node_tools, folder / "renovate", "--dry-run=lookup"),
            HOME=str(folder),
            HTTP_PROXY=proxy.address,
            HTTPS_PROXY=proxy.address,
            NO_PROXY="",
            NODE_EXTRA_CA_CERTS=str(proxy.authority),
            RENOVATE_CONFIG=json.dumps(settings),
        )
    branches = [e["config"] for e in entries if e["msg"] == "generateBranchConfig"]
    return [
        Update(
            *(upgrade["branchName"], upgrade["packageFile"], upgrade.get("depName", "")),
            *(upgrade["updateType"], upgrade.get("newValue") or ""),
            *(upgrade.get("pendingChecks", False), upgrade),
        )
        for upgrades in branches
        for upgrade in upgrades
    ]


def replace(found: list[Update], node_tools: Path, project: Path) -> None:
    """Write the updates of a branch into the files of a project, by Renovate's own code.

    Raises AssertionError where it cannot.
    """
    node = node_tools / NODE / "bin" / "node"
    script = ROOT / "tests/data/renovate_replace.mjs"
    updates_file = project.parent / "updates.json"
    updates_file.write_text(json.dumps([update.upgrade for update in found]))
    env = environment({"LOG_LEVEL": "error"})
    run(node, script, node_tools / "renovate", project, updates_file, env=env)


def pins(project: Project) -> set[tuple[str, str]]:
    """Return each version that the project's files name, with the file."""
    patterns = {
        "Dockerfile": r"(?:FROM|--from=)[ ]?((?:[\w.-]+/)*[\w.-]+:[\w.-]+)",
        "docker-bake.hcl": r"FROM ((?:[\w.-]+/)*[\w.-]+:[\w.-]+)",
        "compose.yaml": r"image: (\S+)",
        ".gitlab-ci.yml": r"(?:image: |services: \[\")([\w./-]+:[\w.-]+)",
        "pyproject.toml": r"required-version = \">=(.*)\"",
        ANSWERS_FILE: r"^uv_version: (.*)",
    }
    found = {
        (name, version)
        for name, pattern in patterns.items()
        if (project.path / name).exists()
        for version in re.findall(pattern, project.read(name), re.MULTILINE)
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


def published(project: Project) -> tuple[Published, str]:
    """Return what is published for a project, and the newest version of uv.

    That one is two days old, so what looks at PyPI or GitHub takes the one before. Images of Docker
    Hub were rebuilt yesterday, under the same tag.
    """
    version, python = project.answers["uv_version"], project.answers["python_version"]
    *_, micro = version.split(".")
    newer, newest = (f"{version.removesuffix(micro)}{int(micro) + n}" for n in (1, 2))
    ages = {version: 60.0, newer: 20.0, newest: 2.0}
    flavors = ["", f"-python{python}-trixie", f"-python{python}-trixie-slim"]
    images = {"ghcr.io/astral-sh/uv": {f"{v}{flavor}": 0.0 for v in ages for flavor in flavors}}
    for name, tag in image_pins(project):
        host = "" if name.startswith("ghcr.io/") else "docker.io/"
        images.setdefault(f"{host}{name if '/' in name else f'library/{name}'}", {})[tag] = 1.0
    template = TEMPLATE.removeprefix("https://github.com/").removesuffix(".git")
    github = {"astral-sh/uv": ages, template: {"v1.0.0": 90.0, "v1.1.0": 1.0}}
    return Published({"uv": ages}, images, github), newest


def image_pins(project: Project) -> set[tuple[str, str]]:
    """Return the images that a project's files name, each with its tag."""
    found = (re.fullmatch(r"([a-z][\w./-]*):([\w.-]+)", version) for _, version in pins(project))
    return {(image[1], image[2]) for image in found if image}


def uv_pins(project: Project) -> Counter[str]:
    """Return how often each file of a project names the version of uv."""
    version = re.escape(project.answers["uv_version"])
    pattern = rf"(?:astral-sh/uv:|required-version = \">=|uv_version: ){version}"
    names = [file for file in project.files if file.suffix != ".md"]
    counts = {str(name): len(re.findall(pattern, project.read(name))) for name in names}
    return Counter({name: count for name, count in counts.items() if count})


def problems(project: Project, found: list[Update], newest: str) -> set[str]:
    """Return what is wrong with the updates of a project, in a word each."""
    versions = ("major", "minor", "patch")
    of_uv = [u for u in found if u.name in UV and u.kind in versions and not u.pending]
    digests = {u.name for u in found if u.kind == "pinDigest" and not u.pending}
    template = [u for u in found if u.file == ANSWERS_FILE and u.name not in UV]
    checks = {
        "a pin of uv is left out": Counter(u.file for u in of_uv) != uv_pins(project),
        "uv comes in several changes": len({u.branch for u in of_uv}) != 1,
        "uv comes in several versions": {u.value.partition("-")[0] for u in of_uv} != {newest},
        "a digest is held": digests != {name for name, _ in image_pins(project)},
        "the template is held": [(u.value, u.pending) for u in template] != [("v1.1.0", False)],
    }
    return {problem for problem, wrong in checks.items() if wrong}


@pytest.mark.slow
@pytest.mark.parametrize("answers", PROJECTS.values(), ids=PROJECTS)
def test_renovate_raises_uv_everywhere_at_once(
    answers: Answers, render: Render, node_tools: Path, tmp_path: Path
) -> None:
    """And holds neither digests nor the template, though hosts do not say how old these are."""
    project = render(**answers)
    sources, newest = published(project)
    found = updates(project, sources, node_tools, tmp_path)
    assert problems(project, found, newest) == set(), found
    copy = tmp_path / "my-service"
    before = {file: (copy / file).read_text() for file in uv_pins(project)}
    replace([u for u in found if u.branch == "renovate/uv"], node_tools, copy)
    raised = sum((copy / file).read_text().count(newest) for file in before)
    assert raised == uv_pins(project).total()
    if (copy / "ci").exists():
        run(sys.executable, "ci/check_pins.py", cwd=copy)
    for file, text in before.items():
        (copy / file).write_text(text)
    # The two branches are made from the same files.
    digests = [u for u in found if u.kind == "pinDigest"]
    replace(digests, node_tools, copy)
    for update in digests:
        pinned = f"{update.name}:{update.value}@{update.upgrade['newDigest']}"
        assert pinned in (copy / update.file).read_text()


BY_PYPI = [{"matchPackageNames": ["uv", "astral-sh/uv", "ghcr.io/astral-sh/uv"], "groupName": "uv"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"minimumReleaseAgeBehaviour": "timestamp-required", "packageRules": BY_PYPI},
            {
                *("a pin of uv is left out", "uv comes in several versions"),
                *("a digest is held", "the template is held"),
            },
        ),
        ({"packageRules": BY_PYPI}, {"uv comes in several versions", "a digest is held"}),
    ],
    ids=["only what has a date", "two sources of versions of uv"],
)
def test_other_settings_of_renovate_are_noticed(
    settings: dict[str, Any], expected: set[str], render: Render, node_tools: Path, tmp_path: Path
) -> None:
    """Those with which uv was looked up on PyPI and in its registry."""
    project = render(**PROJECTS["gitlab"])
    shutil.copytree(project.path, tmp_path / "my-service")
    file = tmp_path / "my-service" / "renovate.json"
    planted = json.loads(file.read_text()) | settings
    [manager] = planted["customManagers"]
    manager |= {"depNameTemplate": "uv", "datasourceTemplate": "pypi"}
    file.write_text(json.dumps(planted))
    sources, newest = published(project)
    found = updates(project, sources, node_tools, tmp_path)
    assert problems(project, found, newest) == expected, found


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
