"""Private packages in pipelines: the lanes that need a login get it, the others pass without."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from helpers.docker_engine import docker_ok
from helpers.git_servers import VERSIONS, Forge
from helpers.host_python import lock, require_python
from helpers.pipelines import GITHUB_EVENTS, GITLAB_KINDS, Bench, Checkout, Run, remove
from helpers.private_access import (
    KINDS,
    SHOW,
    Accesses,
    Contexts,
    generate,
    logged_in,
    machine,
    over_https,
    usual_engine,
)
from helpers.secret_scan import in_bytes

# One server asks for an ssh key, and it runs in a container.
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.xdist_group("private packages"),
]

# The kinds on each platform; on GitLab also with the token that each job has.
CASES = {
    **{
        f"{platform} {kind}": (platform, kind, "")
        for platform in ("github", "gitlab")
        for kind in KINDS
    },
    "gitlab git-https job": ("gitlab", "git-https", "CI_JOB_TOKEN"),
    "gitlab index job": ("gitlab", "index", "CI_JOB_TOKEN"),
}
# Servers whose certificates come from an authority that nothing on the runner knows.
OWN_AUTHORITY = {
    "github index own authority": ("github", "index", "own authority"),
    "gitlab git-https own authority": ("gitlab", "git-https", "own authority"),
}
# Those that build an image too: each kind, with both platforms and a job's token among them.
IN_IMAGES = {
    name: CASES[name]
    for name in ("github git-https", "github git-ssh", "gitlab git-ssh", "gitlab index job")
}


SYSTEM = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Case:
    """A project with private packages, and what its owner or its platform gives to pipelines."""

    project: Checkout
    gitlab: list[str]
    secrets: Mapping[str, str]
    # Texts that no log may show.
    hidden: list[str]

    def run(self, full: bool, *jobs: str, secrets: bool = True) -> Run:
        """Run the fast or the full checks, or some of their jobs, with the secrets or without."""
        # On another GitLab, too, a job has a token.
        given = {n: v for n, v in self.secrets.items() if secrets or n == "CI_JOB_TOKEN"}
        if self.project.platform == "gitlab":
            kind = GITLAB_KINDS["merge train" if full else "merge request"]
            return self.project.gitlab(self.gitlab, {**kind, **given}, *jobs)
        event = GITHUB_EVENTS["labelled pull request" if full else "pull request"]
        passed = [f"--secret={name}={value}" for name, value in given.items()]
        chosen = [word for job in jobs for word in ("--job", job)]
        return self.project.act(event, *passed, *chosen)

    def build(self, secrets: bool = True) -> Run:
        """Run the job that builds the image."""
        if self.project.bench.registry is None and self.project.platform == "gitlab":
            pytest.skip("docker-registry is not here")
        if not shutil.which("skopeo"):
            pytest.skip("skopeo is not here")
        return self.run(True, "container", secrets=secrets)


@pytest.fixture
def case(
    request: pytest.FixtureRequest,
    template: Path,
    accesses: Accesses,
    certificates: Path,
    contexts: Contexts,
    gitlab_server: Forge,
    registry: str | None,
    tmp_path: Path,
) -> Iterator[Case]:
    """A project that is locked, with an empty cache."""
    platform, kind, token = request.param
    access = accesses(kind)
    company_ca = token == "own authority"
    if company_ca:
        token = ""
    if token:
        access = over_https(gitlab_server) if kind == "git-https" else replace(
            access,
            index=gitlab_server.gitlab_index,
            variables={"INDEX_USERNAME": "gitlab-ci-token", "INDEX_PASSWORD": gitlab_server.token},
            secrets=[gitlab_server.token],
        )  # fmt: skip
    folder = generate(
        template, tmp_path / "my-service", kind, access,
        ci=platform, framework="job", package_name=f"ci_{uuid.uuid4().hex[:12]}",
        python_version=require_python().version, company_ca=company_ca,
    )  # fmt: skip
    if company_ca:
        shutil.copy(certificates, folder / "company-ca.crt")
    if token and kind == "index":
        # Unlike git, uv asks the system, which may not know the name.
        for name in ("pyproject.toml", ".gitlab-ci.yml", "Dockerfile"):
            text = (folder / name).read_text()
            (folder / name).write_text(text.replace(gitlab_server.name, "localhost"))
    variables = machine(access, certificates, tmp_path / "home")
    lock(folder, {**variables, **logged_in(kind, access)})
    shutil.rmtree(tmp_path / "home" / "uv")
    del variables["GIT_SSH_COMMAND"]
    if company_ca:
        # The jobs have to find out by themselves.
        variables |= dict.fromkeys(("SSL_CERT_FILE", "GIT_SSL_CAINFO"), SYSTEM)
    bases = contexts((folder / "Dockerfile").read_text(), usual_engine())
    outside = tmp_path / "outside.json"
    # No cache has what the login fetches.
    private = {"network": "host", "contexts": bases, "no-cache-filter": ["private", "repositories"]}
    outside.write_text(json.dumps({"target": {"private": private}}))
    bake = [f"--allow=fs.read={outside}", "--file=docker-bake.hcl", f"--file={outside}"]
    bench = Bench(
        tmp_path / "bench", registry, variables=variables, bake=["--allow=network.host", *bake]
    )
    project = Checkout(folder, bench, platform)
    project.start()
    gitlab = request.getfixturevalue("gitlab") if platform == "gitlab" else []
    given = dict(access.variables)
    if token:
        server = "localhost" if kind == "index" else gitlab_server.name
        given = {
            token: access.secrets[0],
            "CI_SERVER_FQDN": gitlab_server.host.replace(gitlab_server.name, server),
        }
    if access.key:
        given = {"SSH_PRIVATE_KEY": access.key.read_text()}
    yield Case(project, gitlab, given, access.secrets)
    remove(project)


def on(cases: Mapping[str, tuple[str, str, str]]) -> pytest.MarkDecorator:
    """Run a test on some cases."""
    return pytest.mark.parametrize("case", cases.values(), ids=cases, indirect=True)


@on(CASES | OWN_AUTHORITY)
def test_fast_lanes_log_in_where_they_need_to(case: Case) -> None:
    """Types and tests do; lint passes without a login."""
    without = case.run(False, secrets=False)
    assert without.jobs["lint"] == "success", without.log
    assert {"typecheck", "test"} <= without.red <= {"typecheck", "test", "required"}, without.log
    run = case.run(False)
    assert run.red == set(), run.log
    assert {"lint", "typecheck", "test"} <= run.jobs.keys()
    assert not in_bytes(run.log.encode(), case.hidden)


@on(IN_IMAGES)
def test_the_image_is_built_with_the_login(case: Case) -> None:
    run = case.build()
    assert run.red == set(), run.log
    assert not in_bytes(run.log.encode(), case.hidden)
    image = f"{case.project.slug}:ci"
    said = docker_ok("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", SHOW)
    assert said.strip() == f"{VERSIONS[0]} {VERSIONS[0]}"


@on(IN_IMAGES)
def test_no_image_is_built_without_the_login(case: Case) -> None:
    run = case.build(secrets=False)
    assert run.red == {"container"}, run.log
    assert "README.md" in run.log, run.log
