"""What this repository has for others is valid: its CI, its bot, its forms, and its documents.

Its CI follows the rules of a generated project's.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from helpers.commands import attempt, run, tool
from helpers.profiles import ROOT
from helpers.renovate import extracted

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
# Schemas that check-jsonschema knows, by the files they are for.
SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "renovate.json": "vendor.renovate",
}
USES = re.compile(r"uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", re.MULTILINE)


@pytest.mark.parametrize(("pattern", "schema"), SCHEMAS.items(), ids=SCHEMAS)
def test_files_follow_their_schema(pattern: str, schema: str) -> None:
    paths = [str(path) for path in sorted(ROOT.glob(pattern))]
    assert paths
    # In this process: a start of the program takes longer than what it does.
    checked = CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, *paths])
    assert checked.exit_code == 0, checked.output


def test_zizmor_finds_nothing() -> None:
    run(tool("zizmor"), "--offline", "--persona=auditor", "--quiet", str(GITHUB), cwd=ROOT)


@pytest.mark.slow
def test_githubs_own_parser_finds_nothing(github_parser: list[str]) -> None:
    run(*github_parser, *WORKFLOWS, cwd=ROOT)


def test_jobs_may_only_read() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        assert "pull_request_target" not in workflow[True]
        assert "cancel-in-progress" in workflow["concurrency"]
        assert workflow["defaults"]["run"]["shell"] == "bash"
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 60
            assert job["permissions"] in ({}, {"contents": "read"})


def test_actions_have_the_pins_of_a_generated_project() -> None:
    """By commit, with the version, so that one update raises both."""
    files = (ROOT / "template").rglob("*.jinja")
    generated = {pin for path in files for pin in USES.findall(path.read_text())}
    for path in WORKFLOWS:
        text = path.read_text()
        pins = USES.findall(text)
        assert len(pins) == text.count("uses: ")
        assert set(pins) <= generated


def test_jobs_run_all_tests_and_docker_apart() -> None:
    [path] = WORKFLOWS
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = {name: [s.get("run", "") for s in job["steps"]] for name, job in jobs.items()}
    selected = {
        name: re.findall(r'pytest -m ("not docker"|docker) ', "\n".join(lines))
        for name, lines in commands.items()
    }
    assert selected == {"host": ['"not docker"'], "docker": ["docker"], "required": []}
    assert jobs["required"]["needs"] == ["host", "docker"]
    assert jobs["required"]["if"] == "always()"


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ("success success", 0),
        ("success failure", 1),
        ("cancelled success", 1),
        ("success skipped", 1),
    ],
)
def test_required_needs_every_job(results: str, status: int) -> None:
    jobs = yaml.safe_load((GITHUB / "workflows/tests.yml").read_text())["jobs"]
    [step] = jobs["required"]["steps"]
    ran = attempt("bash", "-e", "-c", step["run"], env={"RESULTS": results.replace(" ", "")})
    assert ran.returncode == status


def pins() -> set[tuple[str, str, str]]:
    """Return each version that the template and our CI name: its file, what it is of, and itself.

    Read by other patterns than those of renovate.json.
    """
    found = set()
    images = r"""['" ](postgres|docker|ubuntu|debian|nvidia/cuda):([\w.-]*\d[\w.-]*)"""
    for path in [*(ROOT / "template").rglob("*.jinja"), *WORKFLOWS]:
        file, text = str(path.relative_to(ROOT)), path.read_text()
        for name, _, version in USES.findall(text):
            # An action may be a folder of its repository.
            found.add((file, "/".join(name.split("/")[:2]), version))
        if "/tests/" not in file:
            found |= {(file, name, version) for name, version in re.findall(images, text)}
    file = "template/project/pyproject.toml.jinja"
    for line in re.findall(r'^ +"(.*[~>]=.*)",?$', (ROOT / file).read_text(), re.MULTILINE):
        requirement = re.fullmatch(r"([\w-]+)(?:\[.*?\]|{{.*?}})?([~>]=.*)", line)
        assert requirement, line
        found.add((file, requirement[1], requirement[2]))
    file = "template/project/adopt.py"
    for name, version in re.findall(r'"([\w-]+)(==[^"]+)"', (ROOT / file).read_text()):
        found.add((file, name, version))
    file = "template/parts/ci/checks.jinja"
    for name, version in re.findall(r"set (\w+) = '(v?\d[^']+)'", (ROOT / file).read_text()):
        found.add((file, name, version))
    uv = yaml.safe_load((ROOT / "copier.yml").read_text())["uv_version"]["default"]
    return found | {("copier.yml", "uv", uv), ("pyproject.toml", "uv", uv)}


@pytest.mark.slow
def test_renovate_sees_each_pin_of_the_template(node_tools: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slipway"
    for name in "copier.yml", "pyproject.toml", "renovate.json", "template", ".github":
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        folder.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    names = {
        "buildkit": "moby/buildkit",
        "grype": "anchore/grype",
        "sbom_scanner": "docker/buildkit-syft-scanner",
        "uv": "ghcr.io/astral-sh/uv",
    }
    expected = {(file, names.get(name, name), version) for file, name, version in pins()}
    seen = {
        (d["file"], d.get("depName"), version)
        for d in extracted(folder, node_tools, tmp_path / "renovate")
        for version in (d.get("currentValue"), d.get("currentDigest"))
        if not d.get("skipReason")
    }
    assert len({file for file, _, _ in expected}) > 7
    assert expected - seen == set()


def test_renovate_raises_uv_in_one_change() -> None:
    settings = json.loads((ROOT / "renovate.json").read_text())
    of_uv = [m for m in settings["customManagers"] if "uv" in m.get("depNameTemplate", "")]
    assert {m["depNameTemplate"] for m in of_uv} == {"ghcr.io/astral-sh/uv"}
    assert len(of_uv) == 2
    [rule] = [r for r in settings["packageRules"] if r.get("groupName") == "uv"]
    assert rule["matchPackageNames"] == ["ghcr.io/astral-sh/uv"]


def test_renovate_waits_a_week() -> None:
    assert json.loads((ROOT / "renovate.json").read_text())["minimumReleaseAge"] == "7 days"
