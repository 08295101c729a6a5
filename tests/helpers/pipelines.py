"""Pipelines of generated projects, run on this machine, and what became of their jobs."""

import json
import os
import platform
import re
import shlex
import shutil
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import Completed, attempt, tool
from helpers.commands import run as run_command
from helpers.docker_engine import docker
from helpers.git_repositories import Repository, TemplateRepository
from helpers.host_python import environment, require_python, uv
from helpers.profiles import ROOT

ACTIONS = ROOT / "tests/data/actions"
# The stand-ins of actions; actions/checkout is act's own, and the others do nothing here.
STAND_INS = {
    "astral-sh/setup-uv": "setup-uv",
    "docker/bake-action": "bake",
    "actions/upload-artifact": "upload-artifact",
    "actions/download-artifact": "download-artifact",
    "actions/cache": "cache",
}
USES = re.compile(r"uses: +([\w.-]+/[\w.-]+)[\w./-]*(@[0-9a-f]{40})")
REMOTE = {
    "github": "https://github.com/Acme/My-Service.git",
    "gitlab": "https://gitlab.com/acme/my-service.git",
}
MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_BRANCH": ""}
PUSH = {"CI_PIPELINE_SOURCE": "push"}

# The kinds of pipelines on GitLab, as the variables that make one.
GITLAB_KINDS: dict[str, dict[str, str]] = {
    "merge request": MERGE_REQUEST,
    "labelled merge request": MERGE_REQUEST | {"CI_MERGE_REQUEST_LABELS": "bug,ci::full"},
    "merge train": MERGE_REQUEST | {"CI_MERGE_REQUEST_EVENT_TYPE": "merge_train"},
    "branch": PUSH | {"CI_COMMIT_BRANCH": "edit", "CI_COMMIT_REF_NAME": "edit"},
    "default branch": PUSH | {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"},
    "version tag": PUSH
    | {"CI_COMMIT_TAG": "v1.0.0", "CI_COMMIT_REF_NAME": "v1.0.0", "CI_COMMIT_BRANCH": ""},
    "other tag": PUSH
    | {"CI_COMMIT_TAG": "main", "CI_COMMIT_REF_NAME": "main", "CI_COMMIT_BRANCH": ""},
    "schedule": {"CI_PIPELINE_SOURCE": "schedule"},
}


# Programs that npm installs for the tests.
# node itself is among them: the machine's may be older than they need.
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
NODE = f"node-{sys.platform}-{MACHINE}"
NODE_TOOLS = {
    NODE: "^24.11.0",
    "@actions/workflow-parser": "^0.3.61",
    "esbuild": "^0.28.0",
    "gitlab-ci-local": "^4.75.0",
    "renovate": "^44.121.0",
}

# The projects whose pipelines run, by name. Together they have each framework, each kind of
# database, each base image, both layouts, and lack each group once.
PROJECTS: dict[str, dict[str, Any]] = {
    "django": {"framework": "django"},
    "django-sqlite": {
        "framework": "django",
        "database": "sqlite",
        "base_image": "ubuntu",
        "dependency_groups": ["quality"],
    },
    "fastapi": {"framework": "fastapi", "dependency_groups": ["test", "quality"]},
    "job": {"framework": "job"},
    "job-postgres": {"framework": "job", "database": "postgres", "dependency_groups": ["test"]},
    "bare": {"framework": "fastapi", "database": "none", "dependency_groups": []},
    "cuda-service": {
        "framework": "fastapi",
        "database": "none",
        "base_image": "cuda",
        "image_layout": "single-stage",
    },
    "cuda-job": {"framework": "job", "base_image": "cuda", "dependency_groups": ["quality"]},
}


@dataclass(frozen=True)
class Event:
    """What makes GitHub start a workflow."""

    name: str
    payload: Mapping[str, Any]
    workflow: str = "ci.yml"


_REPOSITORY = {"visibility": "public", "default_branch": "main"}


def _pull_request(*labels: str) -> Event:
    named = [{"name": label} for label in labels]
    payload = {"pull_request": {"number": 7, "labels": named}, "repository": _REPOSITORY}
    return Event("pull_request", payload)


def push(ref: str) -> Event:
    """Return the event of a pushed branch or tag."""
    return Event("push", {"ref": ref, "repository": _REPOSITORY})


GITHUB_EVENTS = {
    "pull request": _pull_request("bug"),
    "labelled pull request": _pull_request("bug", "ci:full"),
    "merge queue": Event(
        "merge_group", {"merge_group": {"head_ref": "refs/heads/queue"}, "repository": _REPOSITORY}
    ),
    "push": push("refs/heads/main"),
    "tag": push("refs/tags/v1.0.0"),
    "schedule": Event("schedule", {}, "template.yml"),
}


@dataclass(frozen=True)
class Run:
    """A pipeline that ran: each job's result, the steps that succeeded or failed, the log."""

    jobs: dict[str, str]
    log: str
    # Job and step of those that ran, with their results and how many seconds they took.
    steps: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def red(self) -> set[str]:
        """The jobs that failed."""
        return {job for job, result in self.jobs.items() if result != "success"}

    def took(self, job: str) -> float:
        """Return how many seconds a job took."""
        return sum(time for (name, _), time in self.seconds.items() if name == job)


@dataclass(frozen=True)
class Bench:
    """Where pipelines run: the stand-ins that are before other commands, and the stores."""

    folder: Path
    registry: str | None = None
    # Address of the database that GitLab starts beside a job.
    database: str | None = None
    # Variables of all jobs, and options that each `docker buildx bake` gets.
    variables: Mapping[str, str] = field(default_factory=dict)
    bake: Sequence[str] = ()

    @cached_property
    def path(self) -> str:
        """The value of PATH for a pipeline, with what stands before commands of this machine."""
        self.vulnerable.parent.mkdir(parents=True, exist_ok=True)
        self.vulnerable.touch()
        registries = self.folder / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{self.host}"\ninsecure = true\n')
        stand_in = f"{sys.executable} {Path(__file__).with_name('docker_stand_in.py')}"
        bake = shlex.quote(shlex.join(self.bake))
        commands = {
            "docker": f"{stand_in} {shutil.which('docker')} {self.vulnerable} {bake}",
            "skopeo": f"{shutil.which('skopeo')} --registries-conf {registries}",
            "cosign": f"echo >> {self.signed}",
            # `gh run list --json number --jq '.[].number'`: a line for each run.
            "gh": f"test ! -e {self.newest_run} || cat {self.newest_run} #",
        }
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        for name, command in commands.items():
            if name in ("cosign", "gh") or shutil.which(name):
                (bin_folder / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
                (bin_folder / name).chmod(0o755)
        return os.pathsep.join([str(bin_folder), environment()["PATH"]])

    @property
    def host(self) -> str:
        """The registry, or a place where none answers."""
        return self.registry or "localhost:1"

    @property
    def vulnerable(self) -> Path:
        """The names of packages that are vulnerable."""
        return self.folder / "vulnerable"

    @property
    def build_log(self) -> Path:
        """What the builds of the pipelines have printed."""
        return self.folder / "build.log"

    @property
    def signed(self) -> Path:
        """What cosign was told, a line each time."""
        return self.folder / "signed"

    @property
    def newest_run(self) -> Path:
        """The number of the newest run on GitHub that succeeded, where there was one."""
        return self.folder / "newest-run"

    @property
    def artifacts(self) -> Path:
        """The folder in which GitHub's artifacts are kept."""
        return self.folder / "artifacts"

    def environment(self) -> dict[str, str]:
        """Return the environment of a pipeline's jobs."""
        (self.folder / "docker").mkdir(parents=True, exist_ok=True)
        return environment(
            {
                "PATH": self.path,
                "ARTIFACTS": str(self.artifacts),
                "DOCKER_CONFIG": str(self.folder / "docker"),
                "NO_COLOR": "1",
                **self.variables,
            }
        )


@dataclass(frozen=True)
class Checkout(Repository):
    """A generated project on the branch of a change, ready for its pipelines."""

    bench: Bench
    platform: str

    @property
    def slug(self) -> str:
        """The name of its image."""
        text = self.read("pyproject.toml")
        return re.findall(r'^name = "(.*)"', text, re.MULTILINE)[0]  # type: ignore[no-any-return]

    def start(self) -> None:
        """Make the project the default branch of its repository, with a change on a branch.

        act knows neither `queue` of a concurrency group nor `deployment` of an environment. The
        registry of GitHub's packages becomes the bench's. GitLab's services become the engine of
        this machine, by the docker command of the bench, and the bench's database. gitlab-ci-local
        expands CI_PROJECT_DIR in a variable to a folder of GitLab's runners.
        """
        for path in (self.path / ".github" / "workflows").glob("*.yml"):
            text = path.read_text().replace("      queue: max\n", "")
            text = text.replace("{name: private-packages, deployment: false}", "private-packages")
            path.write_text(text.replace("ghcr.io/${GITHUB", f"{self.bench.host}/${{GITHUB"))
        if self.platform == "gitlab":
            text, found = re.subn(
                r"^  services:( .*\n|\n(    .*\n)+)",
                "",
                self.read(".gitlab-ci.yml"),
                flags=re.MULTILINE,
            )
            assert 1 <= found <= 2
            lane = text.partition("\ntest:\n")[2].partition("\n\n")[0]
            beside = lane.replace("@database:5432", f"@{self.bench.database}")
            assert beside == lane or self.bench.database
            text = text.replace(lane, beside)
            text = text.replace("=$CI_PROJECT_DIR/known_hosts", f"={self.path}/known_hosts")
            self.write(".gitlab-ci.yml", text)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", REMOTE[self.platform])
        self.commit("Start")
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
        self.git("switch", "--quiet", "--create", "edit")
        self.write("notes.txt", "Edited.\n")
        self.commit("Edit")

    def workflow(self, name: str) -> dict[str, Any]:
        """Return a workflow of GitHub's, parsed."""
        parsed: dict[str, Any] = yaml.safe_load(self.read(f".github/workflows/{name}"))
        return parsed

    def act(self, event: Event, *options: str) -> Run:
        """Run the workflow of an event, its `run:` steps for real."""
        work = self.bench.folder / "act"
        work.mkdir(parents=True, exist_ok=True)
        self.bench.artifacts.mkdir(exist_ok=True)
        payload = work / "event.json"
        payload.write_text(json.dumps(event.payload))
        variables = self.bench.environment()
        passed = [
            "UV_PYTHON",
            "UV_PYTHON_DOWNLOADS",
            *(n for n in variables if n.startswith("UV_")),
        ]
        passed += ["ARTIFACTS", "DOCKER_CONFIG", "NO_COLOR", *self.bench.variables]
        command = [
            tool("act"), event.name, "--workflows", f".github/workflows/{event.workflow}",
            "--eventpath", str(payload), "--platform", "ubuntu-24.04=-self-hosted",
            "--platform", "ubuntu-24.04-arm=-self-hosted", "--platform", "ubuntu-slim=-self-hosted",
            "--container-daemon-socket", "-",
            "--action-offline-mode", "--no-cache-server", "--json", *self._stand_ins(),
            *(word for n in passed for word in ("--env", f"{n}={variables[n]}")),
            *options,
        ]  # fmt: skip
        variables |= {"XDG_CACHE_HOME": str(work / "cache"), "XDG_CONFIG_HOME": str(work)}
        self.bench.build_log.unlink(missing_ok=True)
        run = _act_run(attempt(*command, cwd=self.path, env=variables, merged=True).stdout)
        if run.red and self.bench.build_log.exists():
            # act drops what a command printed just before it failed.
            return replace(run, log=f"{run.log}\n{self.bench.build_log.read_text()}")
        return run

    def _stand_ins(self) -> list[str]:
        found: set[tuple[str, str]] = set()
        for path in (self.path / ".github" / "workflows").glob("*.yml"):
            found |= set(USES.findall(path.read_text()))
        options = []
        for name, commit in sorted(found):
            if name != "actions/checkout":
                folder = ACTIONS / STAND_INS.get(name, "noop")
                options += ["--local-repository", f"{name}{commit}={folder}"]
        return options

    def gitlab_jobs(self, gitlab: list[str], kind: Mapping[str, str]) -> list[str]:
        """Return the jobs of a kind of pipeline on GitLab."""
        printed = self._gitlab(gitlab, kind, "--list-csv").stdout
        lines = printed.partition("needs\n")[2].splitlines()
        assert "needs\n" in printed, printed
        return [line.split(";")[0] for line in lines]

    def gitlab(self, gitlab: list[str], kind: Mapping[str, str], *jobs: str) -> Run:
        """Run a kind of pipeline on GitLab, or some jobs of it, in a shell of this machine."""
        ran = self._gitlab(
            gitlab, kind, "--force-shell-executor", "--shell-isolation", "--concurrency=2", *jobs
        )
        log = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)
        results = re.findall(r"^ (PASS|FAIL) +(\S+)", log, re.MULTILINE)
        assert results, log
        names = {"PASS": "success", "FAIL": "failure"}
        seconds = {}
        for job, amount, unit in re.findall(
            r"^(\S+) +finished in ([\d.]+) (ms|s)$", log, re.MULTILINE
        ):
            seconds[job, ""] = float(amount) / (1000 if unit == "ms" else 1)
        return Run({job: names[result] for result, job in results}, log, seconds=seconds)

    def _gitlab(self, gitlab: list[str], kind: Mapping[str, str], *options: str) -> Completed:
        registry = self.bench.host
        variables = {
            "CI_REGISTRY": registry,
            "CI_REGISTRY_IMAGE": f"{registry}/acme/my-service",
            "CI_REGISTRY_USER": "user",
            "CI_REGISTRY_PASSWORD": "password",
            "CI_PIPELINE_ID": "100",
            "CI_SERVER_FQDN": "gitlab.com",
        } | dict(kind)
        passed = []
        for name, value in variables.items():
            passed += [f"--variable={name}={value}"] if value else [f"--unset-variable={name}"]
        hidden = {"GCL_IGNORE_PREDEFINED_VARS": ",".join(variables)}
        inherited = self.bench.environment()
        # As some runners are configured, GitLab.com's among them; see stand_in_docker.py.
        inherited |= {"DOCKER_DRIVER": "overlay2", "STAND_IN_FOR": "kubernetes"}
        # Its own node is newer than the machine's may be.
        inherited["PATH"] = os.pathsep.join([str(Path(gitlab[0]).parent), inherited["PATH"]])
        command = [*gitlab, *passed, *options]
        return attempt(*command, cwd=self.path, env=inherited | hidden, merged=True)


def _act_run(output: str) -> Run:
    jobs, steps, seconds, log = {}, {}, {}, []
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            log.append(line)
            continue
        job, step = entry.get("jobID", ""), entry.get("step", "")
        log.append(f"[{job}] {entry['msg'].rstrip()}")
        if "jobResult" in entry:
            jobs[job] = entry["jobResult"]
        if "stepResult" in entry and entry.get("stage") == "Main" and len(entry["stepID"]) == 1:
            steps[job, step] = entry["stepResult"]
            seconds[job, step] = entry.get("executionTime", 0) / 1e9
    text = re.sub(r"\x1b\[[0-9;]*m|\x1b\(B", "", "\n".join(log))
    if not jobs:
        pytest.fail(f"act ran no job:\n{text}")
    return Run(jobs, text, steps, seconds)


# A function that returns a project of PROJECTS on a platform.
CheckOut = Callable[[str, str], Checkout]


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test in projects, all tests of one project on one worker."""
    params = [pytest.param(n, marks=pytest.mark.xdist_group(f"ci {n}")) for n in names]
    return pytest.mark.parametrize("name", params)


def forget_a_migration(project: Checkout) -> None:
    """Change a model of a Django project without a migration."""
    [models] = project.path.glob("src/*/users/models.py")
    meta = '\n    class Meta(AbstractUser.Meta):\n        verbose_name = "planted"\n'
    project.write(models, project.read(models) + meta)
    project.commit()


def remove(checkout: Checkout) -> None:
    """Remove what the pipelines of a project leave in the engine."""
    if not shutil.which("docker"):
        return
    slug = checkout.slug
    docker("rm", "--force", "--volumes", slug, f"{slug}-test")
    docker("compose", "down", "--volumes", cwd=checkout.path)
    docker("volume", "rm", "--force", f"{slug}-ci")
    found = docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").stdout.split()
    images = [i for i in found if i.startswith((f"{slug}:", f"{checkout.bench.host}/"))]
    if images:
        docker("image", "rm", "--force", *images)


# Steps that a pipeline of one speed has once, where the project has what they need.
FAST_CHECKS = {"Lint": "quality", "Format": "quality", "Check types": "quality", "Test": "test"}


def groups(name: str) -> set[str]:
    """Return the dependency groups of a project."""
    return set(PROJECTS[name].get("dependency_groups", ["test", "quality", "dev"]))


def count(run: Run, step: str) -> int:
    """Return how often a step succeeded."""
    return [name for (_, name), result in run.steps.items() if result == "success"].count(step)


def make_lock_stale(project: Checkout) -> None:
    """Add a dependency that the lock does not have, in a commit before the last."""
    project.edit("pyproject.toml", "dependencies = [", 'dependencies = [\n    "six",')
    project.commit()
    project.write("notes.txt", "Edited again.\n")
    project.commit()


def besides_its_group(project: Checkout, run: Run) -> set[str]:
    """Return what the lint lane installed besides the packages of the quality group.

    Raises AssertionError where it did not install the group.
    """
    export = [str(uv()), "export", "--locked", "--only-group", "quality", "--no-hashes"]
    lines = run_command(*export, cwd=project.path, env=environment())
    group = set(re.findall(r"^([\w.-]+)==", lines, re.MULTILINE))
    # Lines of uv's, behind the job's name, which GitLab's runner separates with more.
    installed = set(re.findall(r"^\W*lint[\] >]+\+ ([\w.-]+)==", run.log, re.MULTILINE))
    assert {"ruff", "mypy"} <= group & installed
    print(f"{project.platform}, cold: lint {run.took('lint'):.1f} s, {len(group)} packages")
    return installed - group


def from_template(releases: TemplateRepository, folder: Path, platform: str) -> Checkout:
    """Return a project of the newest release."""
    answers = {"framework": "job", "ci": platform, "python_version": require_python().version}
    releases.copy(folder / "my-service", answers)
    project = Checkout(folder / "my-service", Bench(folder / "bench"), platform)
    project.start()
    return project


MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.v2+json"
)


def document(registry: str, name: str, reference: str) -> tuple[str, dict[str, Any]]:
    """Return the digest of a published manifest or index, and what it says."""
    request = urllib.request.Request(
        f"http://{registry}/v2/{name}/manifests/{reference}", headers={"Accept": MANIFESTS}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.headers["Docker-Content-Digest"], json.load(response)


def leave_out_after_script(project: Checkout) -> None:
    """Take away what a job on GitLab does after its script.

    gitlab-ci-local does that in a new copy of the folder, and then misses image.env.
    """
    text = re.sub(
        r"  after_script:\n    - docker cp(.*\n)+?\n", "\n", project.read(".gitlab-ci.yml")
    )
    project.write(".gitlab-ci.yml", text)
    project.commit()
