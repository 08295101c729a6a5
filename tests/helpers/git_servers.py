"""Servers of private packages, on loopback: git over HTTPS and over ssh, and a package index.

`git http-backend` answers for git (https://git-scm.com/docs/git-http-backend), OpenSSH for ssh, and
`package_index` for the index. Each serves two packages in two versions: `acme-billing`, and `acme-ledger` on which it depends.
They ask for credentials, which they make up at their start. One package, `beacon`, is for everybody.
"""

import contextlib
import os
import secrets
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import trustme

from helpers.commands import run
from helpers.docker_engine import docker, docker_ok
from helpers.package_index import Answer, Distribution, Handler, Index, Mount, served, wheel

VERSIONS = ("1.0.0", "1.1.0")
# What an index that anybody can fill offers under the name of a private package.
CONFUSED = "99.0.0"
BILLING, LEDGER = "acme-billing", "acme-ledger"
# What the index has as a source distribution and not as a wheel.
UNBUILT = "0.9.0"
# A package that needs no login: its repository, and an archive of each version.
BEACON = "beacon"

# Where the combined certificates lie in the stand-ins for base images.
CERTIFICATES = "/etc/ssl/slipway-test.pem"

# A build that looks for secrets, and leaves what it finds in the package that it makes.
_SPY = """\
import os
import pathlib

import setuptools

found = [f"{name}={value}" for name, value in os.environ.items()]
for folder in ("/run/secrets", "/run/buildkit", "/root", os.environ.get("HOME", "/root")):
    for path in pathlib.Path(folder).glob("*"):
        if path.is_file() and path.stat().st_size < 10_000:
            found.append(f"{path}: {path.read_text(errors='replace')}")
        elif path.is_socket():
            found.append(f"{path} is a socket")
agent = os.environ.get("SSH_AUTH_SOCK", "")
if agent and pathlib.Path(agent).exists():
    found.append("an agent answers")
pathlib.Path("acme_ledger/loot.txt").write_text("\\n".join(found))
setuptools.setup(
    name="acme-ledger",
    version="{version}",
    packages=["acme_ledger"],
    package_data={"acme_ledger": ["loot.txt"]},
)
"""


def free_of_git() -> dict[str, str]:
    """Return the environment for a git that knows no settings but those it is given here."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("GIT_", "SSH_"))}
    return kept | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def _code(package: str, version: str) -> str:
    """Return the module of a package in a version."""
    if package == LEDGER:
        return f'VERSION = "{version}"\n'
    return f'import acme_ledger\n\nVERSION = "{version}"\nLEDGER = acme_ledger.VERSION\n'


def _sources(package: str, version: str, dependency: str) -> dict[str, str]:
    """Return the files of a package in a version; billing needs `dependency`."""
    module = {f"{package.replace('-', '_')}/__init__.py": _code(package, version)}
    if package == LEDGER:
        # Nothing here is static: whoever wants to know the version has to run the build.
        return module | {"setup.py": _SPY.replace("{version}", version)}
    manifest = f"""\
[project]
name = "{BILLING}"
version = "{version}"
requires-python = ">=3.11"
dependencies = ["{dependency}"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.metadata]
allow-direct-references = true
"""
    return module | {"pyproject.toml": manifest}


@dataclass
class Forge:
    """A server over HTTPS: git repositories for a token, a package index for a password."""

    folder: Path
    # Where it listens, as a URL has it, and without the port.
    host: str
    name: str
    token: str = field(default_factory=lambda: f"tok{secrets.token_hex(20)}")
    username: str = field(default_factory=lambda: f"usr{secrets.token_hex(8)}")
    password: str = field(default_factory=lambda: f"pwd{secrets.token_hex(20)}")

    @property
    def authority(self) -> Path:
        """The certificate of the authority that vouches for the server."""
        return self.folder / "ca.pem"

    @property
    def index(self) -> str:
        """The URL of the package index."""
        return f"https://{self.host}/simple/"

    @property
    def gitlab_index(self) -> str:
        """The URL of the same index for the token of a job on GitLab."""
        return f"https://{self.host}/gitlab/simple/"

    @property
    def public_index(self) -> str:
        """The URL of an index without a password, which offers a higher version."""
        return f"https://{self.host}/public/"

    def commit(self, package: str, version: str) -> str:
        """Return the commit of a version."""
        return _git(self.folder / "git" / "acme" / f"{package}.git", "rev-parse", f"v{version}")


def _git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    return run("git", *identity, *arguments, cwd=folder, env=free_of_git()).strip()


def make_repositories(folder: Path, dependency_base: str) -> None:
    """Make a bare repository of each package, with a tag for each version.

    `dependency_base` is the URL of the folder of repositories, as one package names another.
    """
    for name in (BILLING, LEDGER):
        work = folder / "work" / name
        work.mkdir(parents=True)
        _git(work, "init", "--quiet", "--initial-branch=main")
        for version in VERSIONS:
            dependency = f"{LEDGER} @ {dependency_base}/{LEDGER}.git@v{version}"
            _write(work, _sources(name, version, dependency))
            _git(work, "add", "--all")
            _git(work, "commit", "--quiet", "--message", version)
            _git(work, "tag", f"v{version}")
        bare = folder / "git" / "acme" / f"{name}.git"
        _git(folder, "clone", "--quiet", "--bare", str(work), str(bare))


def make_open_repository(folder: Path) -> None:
    """Make a bare repository of the package that needs no login, with a tag for a version."""
    work = folder / "work" / BEACON
    work.mkdir(parents=True)
    _git(work, "init", "--quiet", "--initial-branch=main")
    project = f'[project]\nname = "{BEACON}"\nversion = "{VERSIONS[0]}"\n'
    backend = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    module = f'VERSION = "{VERSIONS[0]}"\n'
    _write(work, {"pyproject.toml": f"{project}\n{backend}", f"{BEACON}/__init__.py": module})
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message", VERSIONS[0])
    _git(work, "tag", f"v{VERSIONS[0]}")
    _git(folder, "clone", "--quiet", "--bare", str(work), str(folder / f"git/open/{BEACON}.git"))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _wheels(version: str) -> list[Distribution]:
    """Return the wheels of both packages in a version."""
    return [
        wheel(LEDGER, version, code=_code(LEDGER, version)),
        wheel(BILLING, version, (f"{LEDGER}=={version}",), _code(BILLING, version)),
    ]


def _confused() -> Index:
    """Return an index that says, as the public one does, that its files were uploaded long ago."""
    uploaded = datetime.now(UTC) - timedelta(days=300)
    return Index(distributions=[replace(d, uploaded=uploaded) for d in _wheels(CONFUSED)])


def _archive(version: str) -> Distribution:
    """Return a source distribution of `acme-ledger`.

    It is packed here, as a tool would run its setup.py for that.
    """
    stem = f"{LEDGER.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {LEDGER}\nVersion: {version}\n"
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for file, text in (_sources(LEDGER, version, "") | {"PKG-INFO": metadata}).items():
            member = tarfile.TarInfo(f"{stem}/{file}")
            member.size = len(text.encode())
            archive.addfile(member, BytesIO(text.encode()))
    return Distribution(LEDGER, version, f"{stem}.tar.gz", content.getvalue())


class _Handler(Handler):
    """Indexes, and git's own program behind /acme/ and /open/."""

    forge: Forge

    def answer(self) -> Answer:
        """Return the answer to the request."""
        # The index has a folder of its own too: uv logs in for all beside it.
        self.path = self.path.removeprefix("/pypi")
        top = self.path.split("/")[1]
        if top == "open" and "/archive/" in self.path:
            return self._tag()
        if top == "open" or (top == "acme" and self.credentials()[1] == self.forge.token):
            return self._backend()
        if top in {"simple", "gitlab", "public"}:
            return super().answer()
        return self.login_needed()

    def _tag(self) -> Answer:
        """Answer with the files of a tag, as a forge does."""
        repository, _, file = self.path.strip("/").partition("/archive/")
        tag = file.removesuffix(".tar.gz")
        command = ["git", "archive", f"--prefix={BEACON}-{tag[1:]}/", "--format=tar.gz", tag]
        folder = self.forge.folder / "git" / f"{repository}.git"
        ran = subprocess.run(
            command, cwd=folder, env=free_of_git(), check=True, capture_output=True
        )
        return Answer(200, ran.stdout, {"Content-Type": "application/gzip"})

    def _backend(self) -> Answer:
        """Hand a request to git http-backend, as a web server does."""
        url = urllib.parse.urlsplit(self.path)
        body = self.body()
        environment = free_of_git() | {
            "GIT_PROJECT_ROOT": str(self.forge.folder / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": "token",
            "REMOTE_ADDR": "127.0.0.1",
        }
        ran = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, check=True, capture_output=True
        )
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200").split()[0])
        return Answer(status, content, headers)


@contextlib.contextmanager
def forge(folder: Path, name: str = "localhost", address: str = "127.0.0.1") -> Iterator[Forge]:
    """Serve git repositories and a package index over HTTPS, with a certificate of their own.

    `name` is what this machine's address is called in URLs. curl, and git with it, knows what ends
    in `.localhost`.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*dict.fromkeys([name, "localhost", address])).configure_cert(context)
    handler: type[_Handler] = type("ForgeHandler", (_Handler,), {})
    with served(handler, address, context) as server:
        made = Forge(folder, f"{name}:{server.server_address[1]}", name)
        private = Index(
            dated=False,
            distributions=[_archive(UNBUILT), *(d for v in VERSIONS for d in _wheels(v))],
        )
        handler.forge = made
        handler.mounts = {
            "/simple/": Mount(private, (made.username, made.password)),
            "/gitlab/simple/": Mount(private, ("gitlab-ci-token", made.token)),
            "/public/": Mount(_confused()),
        }
        make_repositories(folder, f"git+https://{made.host}/acme")
        make_open_repository(folder)
        yield made


def trusted(bundle: Path, *authorities: Path) -> Path:
    """Write the authorities that this machine trusts and others into a file; return that."""
    found = [os.environ.get("SSL_CERT_FILE", ""), "/etc/ssl/certs/ca-certificates.crt"]
    here = next((Path(name).read_text() for name in found if name and Path(name).exists()), "")
    bundle.write_text("\n".join([here, *(path.read_text() for path in authorities)]))
    return bundle


def trusting(name: str, reference: str, bundle: Path) -> None:
    """Make an image that stands in for another one and trusts the authorities of a file."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bundle, Path(folder, "bundle.pem"))
        Path(folder, "Dockerfile").write_text(
            f"FROM {name}\n"
            f"COPY bundle.pem {CERTIFICATES}\n"
            f"ENV SSL_CERT_FILE={CERTIFICATES} GIT_SSL_CAINFO={CERTIFICATES}\n"
        )
        docker_ok("build", "--tag", reference, ".", cwd=Path(folder))


# Git for who has the key.
_SSHD = """\
FROM debian:trixie-slim
RUN apt-get update --quiet && \\
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \\
        git openssh-server && \\
    useradd --create-home --shell /usr/bin/git-shell --password "*" git && \\
    git config --system safe.directory "*" && mkdir -p /run/sshd /acme
CMD ["/usr/sbin/sshd", "-D", "-e", "-h", "/keys/host", "-o", "StrictModes=no", \\
     "-o", "PasswordAuthentication=no", "-o", "AuthorizedKeysFile=/keys/authorized"]
"""


@dataclass(frozen=True)
class SshServer:
    """A git server over ssh."""

    host: str
    # The line of its own key in a file of known hosts.
    known_host: str
    # The private key that it lets in, the socket of an agent that holds it, and of one without.
    key: Path
    agent: str
    empty_agent: str


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Serve git repositories over ssh, and run an agent that holds the key to them.

    Raises AssertionError where the server cannot be built.
    """
    keys = folder / "keys"
    keys.mkdir(parents=True)
    repositories = folder / "git" / "acme"
    repositories.mkdir(parents=True)
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", keys / name)
    shutil.copy(keys / "user.pub", keys / "authorized")
    # An agent's socket cannot have a long path.
    with tempfile.TemporaryDirectory() as short:
        sockets = [f"{short}/agent", f"{short}/empty"]
        agents = [
            subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
            for socket in sockets
        ]
        container = ""
        try:
            reference = f"slipway-test/sshd:{uuid.uuid4().hex[:12]}"
            (folder / "Dockerfile").write_text(_SSHD)
            docker_ok("build", "--tag", reference, "--file", "Dockerfile", "keys", cwd=folder)
            container = docker_ok(
                "run", "--detach", "--rm", "--publish=127.0.0.1::22",
                f"--volume={keys}:/keys:ro", f"--volume={repositories}:/acme:ro", reference,
            ).strip()  # fmt: skip
            port = docker_ok("port", container, "22/tcp").strip().split(":")[-1]
            make_repositories(folder, f"git+ssh://git@localhost:{port}/acme")
            for socket in sockets:
                _wait_for(Path(socket))
            variables = free_of_git() | {"SSH_AUTH_SOCK": sockets[0]}
            run("ssh-add", "-q", keys / "user", env=variables)
            host_key = " ".join((keys / "host.pub").read_text().split()[:2])
            yield SshServer(
                f"localhost:{port}", f"[localhost]:{port} {host_key}", keys / "user", *sockets
            )
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait()
            if container:
                docker("rm", "--force", container)
            docker("image", "rm", "--force", reference)


def _wait_for(path: Path, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} is not there"
        time.sleep(0.05)
