"""Access to private packages: servers of them on this machine, and projects that need some."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.attestation_engine import exporting_engine
from helpers.docker_engine import docker, docker_ok
from helpers.git_servers import (
    BILLING,
    LEDGER,
    VERSIONS,
    Forge,
    SshServer,
    forge,
    ssh_server,
    trusted,
    trusting,
)
from helpers.rendering import copy
from helpers.secret_scan import of_key

KINDS = ["git-https", "git-ssh", "index"]
# A line of Python that imports the private packages.
SHOW = "import acme_billing as b; print(b.VERSION, b.LEDGER)"


@dataclass(frozen=True)
class Access:
    """How to get at private packages of one kind: answers, and what is passed to a build."""

    host: str
    packages: str
    options: tuple[str, ...]
    variables: Mapping[str, str]
    wrong: Mapping[str, str]
    secrets: list[str]
    index: str = "https://pypi.example.com/simple/"
    known_host: str = ""
    # The private key that an ssh server lets in.
    key: Path | None = None


@pytest.fixture(scope="session")
def forge_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Git over HTTPS, and a package index."""
    with forge(tmp_path_factory.mktemp("forge")) as server:
        yield server


@pytest.fixture(scope="session")
def gitlab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """The same, with a name that says that it is a GitLab."""
    with forge(tmp_path_factory.mktemp("gitlab"), "gitlab.localhost") as server:
        yield server


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Git over ssh."""
    if missing := [name for name in ("ssh-keygen", "ssh-agent") if not shutil.which(name)]:
        pytest.skip(f"no {' and no '.join(missing)}")
    with ssh_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(
    forge_server: Forge, gitlab_server: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The authorities that this machine trusts, and those of the servers."""
    bundle = tmp_path_factory.mktemp("certificates") / "bundle.pem"
    return trusted(bundle, forge_server.authority, gitlab_server.authority)


def over_https(server: Forge) -> Access:
    """Return the access to git repositories of a server."""
    return Access(
        host=server.host,
        packages=f"{BILLING} @ git+https://{server.host}/acme/{BILLING}.git@v{VERSIONS[0]}",
        options=("--secret=id=git_token,env=GIT_TOKEN",),
        variables={"GIT_TOKEN": server.token},
        wrong={"GIT_TOKEN": "an-older-token-of-some-length"},
        secrets=[server.token],
    )


Accesses = Callable[[str], Access]


@pytest.fixture(scope="session")
def accesses(
    forge_server: Forge,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Accesses:
    """A function that returns the access of a kind."""

    def access(kind: str) -> Access:
        if kind == "git-ssh":
            sshd: SshServer = request.getfixturevalue("sshd")
            return Access(
                host=sshd.host,
                packages=f"{BILLING} @ git+ssh://git@{sshd.host}/acme/{BILLING}.git@v{VERSIONS[0]}",
                options=("--ssh=default",),
                variables={"SSH_AUTH_SOCK": sshd.agent},
                wrong={"SSH_AUTH_SOCK": sshd.empty_agent},
                secrets=of_key(sshd.key),
                known_host=sshd.known_host,
                key=sshd.key,
            )
        if kind == "git-https":
            return over_https(forge_server)
        return Access(
            host="github.com",
            packages=f"{BILLING}=={VERSIONS[0]}, {LEDGER}",
            options=(
                "--secret=id=index_username,env=INDEX_USERNAME",
                "--secret=id=index_password,env=INDEX_PASSWORD",
            ),
            variables={
                "INDEX_USERNAME": forge_server.username,
                "INDEX_PASSWORD": forge_server.password,
            },
            wrong={
                "INDEX_USERNAME": forge_server.username,
                "INDEX_PASSWORD": "an-older-password-of-some-length",
            },
            secrets=[forge_server.username, forge_server.password],
            index=forge_server.index,
        )

    return access


@dataclass(frozen=True)
class Engine:
    """An engine by its address, and why it exports neither caches nor attestations, if so."""

    address: str
    problem: str = ""
    # Whether it holds other images than the engine that all tests use.
    elsewhere: bool = False


def carry(reference: str, source: Sequence[str], target: Sequence[str]) -> None:
    """Copy an image from one engine to another, which are options of docker."""
    with subprocess.Popen(["docker", *source, "save", reference], stdout=subprocess.PIPE) as saved:
        command = ["docker", *target, "load", "--quiet"]
        subprocess.run(command, stdin=saved.stdout, check=True, capture_output=True)


def usual_engine(problem: str = "") -> Engine:
    """Return the engine that all tests use."""
    address = docker_ok("context", "inspect", "--format={{.Endpoints.docker.Host}}").strip()
    return Engine(os.environ.get("DOCKER_HOST", address), problem)


def remove_images(*repositories: str) -> None:
    """Remove all images of some names from the usual engine."""
    found = docker("image", "ls", "--format={{.Repository}}:{{.Tag}}").stdout.split()
    if images := [image for image in found if image.rpartition(":")[0] in repositories]:
        docker("image", "rm", "--force", *images)


@pytest.fixture(scope="session")
def exporting() -> Iterator[Engine]:
    """An engine that exports what it knows, or the usual one with the reason why it does not."""
    usual = usual_engine()
    with ExitStack() as stack:
        try:
            address = stack.enter_context(exporting_engine())
        except RuntimeError as error:
            yield Engine(usual.address, str(error))
        else:
            yield Engine(address, elsewhere=address != usual.address)


Contexts = Callable[[str, Engine], Mapping[str, str]]


@pytest.fixture(scope="session")
def contexts(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contexts]:
    """A function that returns stand-ins for the images that a Dockerfile names, in an engine.

    They trust the server's certificate authority.
    """
    # Not those of another run, which trust another authority.
    bases = f"slipway-test/base-{uuid.uuid4().hex[:12]}"
    loaded: set[tuple[str, Engine]] = set()

    def load(reference: str, engine: Engine) -> None:
        if engine.elsewhere and (reference, engine) not in loaded:
            carry(reference, [], ["--host", engine.address])
        loaded.add((reference, engine))

    def contexts(dockerfile: str, engine: Engine) -> Mapping[str, str]:
        found = {}
        for name in sorted(
            set(re.findall(r"(?:^FROM |--from=)(\S+:\S+)", dockerfile, re.MULTILINE))
        ):
            reference = name
            if "astral-sh/uv" not in name:
                reference = f"{bases}:{re.sub('[^a-z0-9.]+', '-', name)}"
                trusting(name, reference, certificates)
                found[name] = f"docker-image://{reference}"
            elif not docker_ok("image", "ls", "--quiet", name).strip():
                docker_ok("pull", name)
            load(reference, engine)
        return found

    yield contexts
    remove_images(bases)


def generate(template: Path, folder: Path, kind: str, access: Access, **answers: Any) -> Path:
    """Make a project that has private packages of a kind."""
    private = {
        "private_dependencies": kind,
        "private_host": access.host,
        "private_packages": access.packages,
        "private_index_url": access.index,
    }
    copy(template, folder, private | answers)
    if access.known_host:
        with (folder / "known_hosts").open("a") as file:
            file.write(f"{access.known_host}\n")
    return folder


def machine(access: Access, certificates: Path, home: Path) -> dict[str, str]:
    """Return the variables of a machine without a cache or settings that trusts the servers."""
    home.mkdir()
    known = home / "known_hosts"
    known.write_text(f"{access.known_host}\n")
    return {
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "uv"),
        "SSL_CERT_FILE": str(certificates),
        "GIT_SSL_CAINFO": str(certificates),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # The known hosts of the user, which ssh would not look for in this home.
        "GIT_SSH_COMMAND": f"ssh -o BatchMode=yes -o UserKnownHostsFile={known}",
    }


def logged_in(kind: str, access: Access) -> dict[str, str]:
    """Return the variables with which git and uv log in on a machine."""
    if kind == "git-ssh":
        return dict(access.variables)
    if kind == "index":
        return {f"UV_{name.replace('_', '_PRIVATE_')}": v for name, v in access.variables.items()}
    return {
        **access.variables,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"credential.https://{access.host}.helper",
        "GIT_CONFIG_VALUE_0": "!f() { echo username=token; echo password=$GIT_TOKEN; }; f",
    }
