"""The files of CI and of the update bots: valid, safe, complete, and at one with the other files."""

import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from helpers.commands import Completed, attempt, run, tool
from helpers.git_repositories import Repository
from helpers.github_rules import GITHUB_PROFILES, workflows
from helpers.profiles import ROOT, Answers
from helpers.rendering import Project, Render

# What check-jsonschema knows of each file.
SCHEMAS = {
    ".github/workflows/*.yml": ["vendor.github-workflows"],
    ".gitlab-ci.yml": ["vendor.gitlab-ci", "--regex-variant", "nonunicode"],
    "renovate.json": ["vendor.renovate"],
    ".github/dependabot.yml": ["vendor.dependabot"],
}
ZIZMOR = ["--offline", "--persona=auditor", "--quiet"]
FULL = "needs.plan.outputs.speed == 'full'"
FAST = "needs.plan.outputs.speed == 'fast'"
BOTH = "needs.plan.outputs.speed != 'none'"
# Where versions stand: on every base image, in both layouts, for both platforms.
PINNED = [
    {"ci": ci, "base_image": base, "image_layout": layout}
    for ci, base, layout in [
        ("github", "slim", "multi-stage"),
        ("github", "debian", "single-stage"),
        ("gitlab", "ubuntu", "multi-stage"),
        ("gitlab", "cuda", "single-stage"),
        ("github", "cuda", "multi-stage"),
        ("gitlab", "slim", "single-stage"),
    ]
]


def check_schemas(folder: Path) -> list[str]:
    """Check the files of a folder against their schemas and return which there were."""
    found = []
    for pattern, schema in SCHEMAS.items():
        if paths := sorted(folder.glob(pattern)):
            # In this process: a start of the program takes longer than what it does.
            options = ["--builtin-schema", *schema, *map(str, paths)]
            checked = CliRunner().invoke(check_jsonschema, options)
            assert checked.exit_code == 0, checked.output
            found.append(pattern)
    return found


def test_the_files_of_the_answers_are_there_and_valid(project: Project) -> None:
    answers = project.answers
    ci = {"github": ".github/workflows/*.yml", "gitlab": ".gitlab-ci.yml", "none": None}
    bot = {"renovate": "renovate.json", "dependabot": ".github/dependabot.yml", "none": None}
    expected = {ci[answers["ci"]], bot[answers["update_bot"]]} - {None}
    assert set(check_schemas(project.path)) == expected
    if answers["ci"] == "github":
        assert workflows(project).keys() == {"ci.yml", "template.yml"}
    elif answers["update_bot"] != "dependabot":
        assert not (project.path / ".github").exists()


def test_zizmor_finds_nothing(project: Project) -> None:
    if (project.path / ".github").exists():
        run(tool("zizmor"), *ZIZMOR, ".", cwd=project.path)


@pytest.mark.slow
@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_githubs_own_parser_finds_nothing(
    answers: Answers, render: Render, github_parser: list[str]
) -> None:
    project = render(**answers)
    files = sorted((project.path / ".github" / "workflows").glob("*.yml"))
    run(*github_parser, *files, cwd=project.path)


@pytest.mark.slow
def test_githubs_own_parser_notices_mistakes(tmp_path: Path, github_parser: list[str]) -> None:
    workflow = tmp_path / "a.yml"
    workflow.write_text(
        "on: push\njobs: {a: {runs-on: x, needs: b, steps: [{run: 'echo ${{ stepz.a }}'}]}}\n"
    )
    with pytest.raises(AssertionError, match="stepz"):
        run(*github_parser, workflow, cwd=tmp_path)


def test_mistakes_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    workflow = folder / "a.yml"
    workflow.write_text("on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{uses: a/b@v1}]\n")
    with pytest.raises(AssertionError, match="unpinned"):
        run(tool("zizmor"), *ZIZMOR, ".", cwd=tmp_path)
    workflow.write_text("on: push\njobs: {a: {step: []}}\n")
    (tmp_path / ".gitlab-ci.yml").write_text("image: {script: [a]}\n")
    for _ in range(2):
        with pytest.raises(AssertionError, match="Schema validation errors"):
            check_schemas(tmp_path)
        workflow.unlink(missing_ok=True)


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_only_the_job_that_publishes_may_write(answers: Answers, render: Render) -> None:
    writers = []
    for name, workflow in workflows(render(**answers)).items():
        assert workflow["permissions"] == {}, name
        assert "cancel-in-progress" in workflow["concurrency"]
        for job, details in workflow["jobs"].items():
            assert details["timeout-minutes"] <= 60
            if "write" in details["permissions"].values():
                writers.append((name, job))
                # It runs nothing of the project: it does not even have it.
                assert not any("checkout" in s.get("uses", "") for s in details["steps"])
    assert writers == [("ci.yml", "publish")]
    checks = workflows(render(**answers))["ci.yml"]
    assert "pull_request_target" not in checks[True]
    assert "github.event_name == 'push'" in checks["jobs"]["publish"]["if"]


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_each_action_is_pinned_by_commit_with_its_version(answers: Answers, render: Render) -> None:
    project = render(**answers)
    for path in (project.path / ".github" / "workflows").glob("*.yml"):
        for line in path.read_text().splitlines():
            if "uses: " in line:
                assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def steps_at(workflow: Any, speed: str) -> Counter[str]:
    """Return how often each named step stands in the jobs of a speed."""
    other = FAST if speed == "full" else FULL
    jobs = [job for job in workflow["jobs"].values() if job.get("if") != other]
    return Counter(step["name"] for job in jobs for step in job["steps"])


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_each_speed_has_each_check_once(answers: Answers, render: Render) -> None:
    """And `required` waits for every job but the one that publishes."""
    project = render(**answers)
    workflow = workflows(project)["ci.yml"]
    groups = project.answers["dependency_groups"]
    checks = {name: job for name, job in workflow["jobs"].items() if name != "publish"}
    assert {job.get("if") for job in checks.values()} <= {FULL, FAST, BOTH, None, "always()"}
    assert set(checks["required"]["needs"]) == checks.keys() - {"required"}
    for speed in "fast", "full":
        steps = steps_at(workflow, speed)
        for step in "Lint", "Format", "Check types":
            assert steps[step] == int("quality" in groups)
        assert steps["The lock fits"] == int("quality" not in groups)
        assert steps["Test"] == int("test" in groups)
        assert steps["Build"] == steps["Scan"] == int(speed == "full")
        job = project.answers["framework"] == "job"
        assert steps["Run once"] == int(speed == "full" and job)
        assert steps["Ask over HTTP"] == int(speed == "full" and not job)
        database = project.answers["database"] != "none"
        assert steps["Migrations"] == int(speed == "full" and database)


def test_only_the_published_image_is_a_cache(render: Render) -> None:
    """No pipeline writes a cache of the image that another reads, but by publishing.

    GitHub keeps the layers of the tests apart for each branch.
    """
    for ci, file in {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}.items():
        text = render(ci=ci).read(file)
        assert re.findall(r"production\.cache-to=(\S+)", text) == ["type=inline"]
        [source] = re.findall(r"cache-from=type=registry,ref=(.+?)\"?$", text, re.MULTILINE)
        assert source in (
            "${{ steps.cache.outputs.image }}",
            "$CI_REGISTRY_IMAGE:$CI_DEFAULT_BRANCH",
        )
        others = set(re.findall(r"(\S+\.cache-(?:to|from)=type=(?!registry)\S+)", text))
        tests = {f"test.cache-{way}=type=gha,scope=test" for way in ("from", "to")}
        assert others - {"production.cache-to=type=inline"} <= tests


def test_the_image_has_an_sbom_and_provenance(render: Render) -> None:
    """The production image alone, and of all that it is made of."""
    for ci, file in {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}.items():
        found = re.findall(r"(\S+)\.attest=(type=[\w,=]+)", render(ci=ci).read(file))
        kinds = [kind.partition(",generator")[0] for _, kind in found]
        assert {target for target, _ in found} == {"production"}
        assert kinds == ["type=sbom", "type=provenance,mode=max"]


def pin_check(project: Repository) -> Completed:
    """Run the lines by which the lint lane compares versions."""
    if (project.path / ".gitlab-ci.yml").exists():
        lines = yaml.safe_load(project.read(".gitlab-ci.yml"))["lint"]["script"][0]
    else:
        steps = yaml.safe_load(project.read(".github/workflows/ci.yml"))["jobs"]["lint"]["steps"]
        [lines] = [s["run"] for s in steps if s["name"] == "The same uv and Python everywhere"]
    return attempt("sh", "-e", "-c", lines, cwd=project.path, merged=True)


def pins(project: Project) -> Iterator[tuple[Path, str, str]]:
    """Yield each place of a version of uv or Python: its file, its line, and the line changed."""
    uv, python = project.answers["uv_version"], project.answers["python_version"]
    for file in project.files:
        if file.parts[0] in ("src", "tests", "migrations", "docs") or "answers" in file.name:
            continue
        for line in project.read(file).splitlines():
            for version, other in (uv, "9.8.7"), (python, "3.99"):
                if re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", line):
                    yield file, line, line.replace(version, other)


@pytest.mark.parametrize("answers", PINNED, ids=lambda answers: " ".join(answers.values()))
def test_no_pin_drifts_alone(answers: Answers, render: Render, tmp_path: Path) -> None:
    """Not uv's, and not Python's: the lint lane shows the line."""
    rendered = render(**answers)
    run("cp", "-r", rendered.path, tmp_path / "my-service", cwd=tmp_path)
    project = Repository(tmp_path / "my-service")
    assert pin_check(project).returncode == 0
    files = Counter(str(file) for file, _, _ in pins(rendered))
    assert {"Dockerfile", "pyproject.toml", ".python-version"} <= files.keys()
    assert (".gitlab-ci.yml" in files) == (answers["ci"] == "gitlab")
    for file, line, changed in pins(rendered):
        before = project.read(file)
        project.write(file, before.replace(f"{line}\n", f"{changed}\n", 1))
        ran = pin_check(project)
        assert ran.returncode == 1, f"{file}: {changed}\n{ran.stdout}"
        assert "pyproject.toml" in ran.stdout or ".python-version" in ran.stdout
        project.write(file, before)
    assert pin_check(project).returncode == 0


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_github_builds_with_pinned_tools(answers: Answers, render: Render) -> None:
    """BuildKit, the scanner for the SBOM and Grype; no build leaves a record among the artifacts."""
    project = render(**answers)
    text = project.read(".github/workflows/ci.yml")
    container = workflows(project)["ci.yml"]["jobs"]["container"]
    for tool_version, used in {
        "BUILDKIT_VERSION": "image=moby/buildkit:${{ env.BUILDKIT_VERSION }}",
        "SBOM_SCANNER_VERSION": "type=sbom,generator=docker/buildkit-syft-scanner:$",
        "GRYPE_VERSION": "anchore/grype:$GRYPE_VERSION",
    }.items():
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", container["env"][tool_version])
        assert used in text
    [build] = [step for step in container["steps"] if step["name"] == "Build"]
    if "uses" in build:
        assert build["env"]["DOCKER_BUILD_RECORD_UPLOAD"] == "false"
    torch = project.answers.get("accelerator") == "torch"
    assert ("docker buildx prune" in text) == torch
    assert ("type=gha" in text) <= (not torch)


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_a_pipe_fails_with_its_first_command(answers: Answers, render: Render) -> None:
    """Without `shell: bash`, GitHub's shell is `bash -e`, which looks at the last one alone."""
    for name, workflow in workflows(render(**answers)).items():
        shell = workflow.get("defaults", {}).get("run", {}).get("shell")
        for job in workflow["jobs"].values():
            for step in job.get("steps", []):
                if re.search(r"[^|]\|[^|]", step.get("run", "")):
                    assert step.get("shell", shell) == "bash", (name, step["name"])


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_github_names_no_version_of_uv(answers: Answers, render: Render) -> None:
    """setup-uv reads it from pyproject.toml, and `lowest` is the lower bound itself."""
    project = render(**answers)
    for name, workflow in workflows(project).items():
        assert project.answers["uv_version"] not in project.read(f".github/workflows/{name}")
        for job in workflow["jobs"].values():
            names = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
            if "astral-sh/setup-uv" in names:
                assert "actions/checkout" in names[: names.index("astral-sh/setup-uv")]
                options = job["steps"][names.index("astral-sh/setup-uv")]["with"]
                assert "version" not in options
                known = {"resolution-strategy": "lowest"}.items()
                assert known <= options.items() or options["version-file"] == ".tool-versions"


def test_arm64_is_one_word_away(render: Render, tmp_path: Path) -> None:
    run("cp", "-r", render().path, tmp_path / "my-service", cwd=tmp_path)
    project = Repository(tmp_path / "my-service")
    only = "runner: [ubuntu-24.04]"
    project.edit(".github/workflows/ci.yml", only, "runner: [ubuntu-24.04, ubuntu-24.04-arm]")
    check_schemas(project.path)
    run(tool("zizmor"), *ZIZMOR, ".", cwd=project.path)


def documented(heading: str) -> str:
    """Return the YAML below a heading of the documentation."""
    section = (ROOT / "docs/ci.md").read_text().partition(f"## {heading}\n")[2]
    return section.partition("```yaml\n")[2].partition("```")[0]


def test_the_documented_app_takes_the_place_of_a_token(render: Render, tmp_path: Path) -> None:
    answers = {"private_dependencies": "git-https", "private_host": "github.com"}
    shutil.copytree(render(**answers).path, tmp_path / "project")
    project = Repository(tmp_path / "project")
    step = textwrap.indent(documented("A GitHub App for private packages"), "      ")
    text = project.read(".github/workflows/ci.yml")
    steps = re.split(r"^(?=      - name: )", text, flags=re.MULTILINE)
    needed = "${{ secrets.GIT_TOKEN }}"
    assert sum(needed in one for one in steps) == 3
    text = "".join(step + one if needed in one else one for one in steps)
    text = text.replace(needed, "${{ steps.app.outputs.token }}")
    project.write(".github/workflows/ci.yml", text)
    check_schemas(project.path)
    run(tool("zizmor"), *ZIZMOR, ".", cwd=project.path)


def test_the_documented_alternative_is_valid(render: Render, tmp_path: Path) -> None:
    """Rootless BuildKit in place of docker-in-docker."""
    jobs = documented("GitLab without privileged containers")
    pipeline = yaml.safe_load(render(ci="gitlab").read(".gitlab-ci.yml"))
    del pipeline["container"]
    pipeline = pipeline | yaml.safe_load(jobs) | {"stages": ["build", "check", "publish"]}
    (tmp_path / ".gitlab-ci.yml").write_text(yaml.safe_dump(pipeline))
    assert check_schemas(tmp_path) == [".gitlab-ci.yml"]


def test_each_row_of_parity_names_a_test() -> None:
    table = re.findall(
        r"^\| (.*) \| (.*) \| (.*) \| (.*) \|$", (ROOT / "docs/ci.md").read_text(), re.MULTILINE
    )
    rows = [row for row in table if not row[0].startswith(("---", "what"))]
    assert len(rows) > 15
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    written = set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
    for *cells, tests in rows:
        assert all(cells), cells
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, cells
        assert set(named) <= written, set(named) - written


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", "dependencies = [", 'dependencies = [\n    "gitpython>=3.1.45",'),
        ("pyproject.toml", 'requires-python = ">=3.14"', 'requires-python = ">=3.12,<4"'),
        (
            ".github/workflows/ci.yml",
            "      - name: Format",
            '      - name: Node\n        with:\n          node-version: "24"\n      - name: Format',
        ),
        ("Dockerfile", "FROM base AS app", "FROM base AS app\nENV PYTHON_LDAP=3.4"),
    ],
    ids=["a package of a like name", "an older Python, too", "another tool", "another variable"],
)
def test_other_versions_are_no_drift(
    file: str, old: str, new: str, render: Render, tmp_path: Path
) -> None:
    run("cp", "-r", render(python_version="3.14").path, tmp_path / "my-service", cwd=tmp_path)
    project = Repository(tmp_path / "my-service")
    text = project.read(file)
    project.write(file, text.replace(old, new) if old in text else f"{text}{new}\n")
    assert project.read(file) != text
    ran = pin_check(project)
    assert ran.returncode == 0, ran.stdout
