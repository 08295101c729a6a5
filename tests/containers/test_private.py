"""Packages that need a login: fetched from real servers, and the login left nowhere.

S1.3. The projects are rendered as a user's; what tells a build where this machine's servers and
their certificate authority are comes from outside: the network of the host, and base images that
stand in for those of the same name.
"""

import json
import os
import re
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path

import pytest

from helpers.commands import Completed, attempt, run
from helpers.docker_engine import docker, docker_ok
from helpers.git_servers import BEACON, BILLING, CONFUSED, LEDGER, UNBUILT, VERSIONS, Forge
from helpers.host_python import environment, require_python
from helpers.private_access import (
    KINDS,
    SHOW,
    Access,
    Accesses,
    Contexts,
    Engine,
    carry,
    generate,
    logged_in,
    machine,
    remove_images,
    usual_engine,
)
from helpers.profiles import QUESTIONNAIRE
from helpers.rendering import copy
from helpers.secret_scan import contents, in_bytes, in_folder, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("private packages")]

# Each kind in both layouts; the frameworks and the bases in pairs with each of them. Ubuntu's own
# Python, as uv's may not be to be had on the network of the host.
SERVICES = {
    "git-https-multi": ("git-https", "multi-stage", "django", "slim"),
    "git-https-single": ("git-https", "single-stage", "fastapi", "ubuntu"),
    "git-ssh-multi": ("git-ssh", "multi-stage", "fastapi", "slim"),
    "git-ssh-single": ("git-ssh", "single-stage", "django", "ubuntu"),
    "index-multi": ("index", "multi-stage", "django", "ubuntu"),
    "index-single": ("index", "single-stage", "fastapi", "slim"),
}
MULTI_STAGE = [name for name in SERVICES if name.endswith("-multi")]
GIT = [name for name in SERVICES if name.startswith("git-")]
DATABASES = {"django": "sqlite", "fastapi": "none"}
PYTHONS = {"slim": "image", "ubuntu": "apt"}

DOCUMENTED = re.compile(r"README\.md")


@dataclass
class Service:
    """A project with private packages, and the engine that its image is built in."""

    name: str
    project: Path
    access: Access
    engine: Engine
    contexts: Mapping[str, str]
    outside: Path
    carried: set[str] = field(default_factory=set)

    @property
    def layout(self) -> str:
        """The answer of that name."""
        return SERVICES[self.name][1]

    def at(self, project: Path) -> "Service":
        """Return the same with a copy of the project, to be edited."""
        shutil.copytree(self.project, project)
        return Service(
            self.name, project, self.access, self.engine, self.contexts, self.outside,
            self.carried,
        )  # fmt: skip

    def docker(self, *command: str, **variables: str) -> Completed:
        """Run docker with this engine, standard error in the output."""
        kept = {n: v for n, v in os.environ.items() if n not in {"SSH_AUTH_SOCK", "BUILDX_BUILDER"}}
        kept |= {"DOCKER_HOST": self.engine.address, "BUILDKIT_PROGRESS": "plain"}
        return attempt("docker", *command, cwd=self.project, env=kept | variables, merged=True)

    def build(
        self, *options: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Build with some options; `variables` are the secrets, which are not passed by itself."""
        outside = [f"--build-context={name}={at}" for name, at in self.contexts.items()]
        return self.docker(
            "buildx", "build", "--network=host", "--allow=network.host", *outside, *options, ".",
            **(variables or {}),
        )  # fmt: skip

    def image(self) -> str:
        """Build the production image as it is now and return its reference.

        Raises AssertionError with the log where that fails.
        """
        reference = f"slipway-test/{self.name}:{uuid.uuid4().hex[:12]}"
        done = self.build(
            f"--tag={reference}", *self.access.options, variables=self.access.variables
        )
        assert done.returncode == 0, done.stdout
        return reference

    def leave(self, folder: Path, *options: str) -> str:
        """Build an image, put all that this leaves into `folder`, and return its reference.

        Raises AssertionError with the log where that fails.
        """
        reference = f"slipway-test/{self.name}:{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        archive = folder / "image.tar"
        outputs = [f"--metadata-file={folder / 'metadata.json'}"]
        if not self.engine.problem:
            outputs += [
                "--provenance=mode=max",
                "--output=type=image",
                f"--output=type=oci,dest={archive},compression=uncompressed",
                f"--cache-to=type=local,dest={folder / 'cache'},mode=max,compression=uncompressed",
            ]
        done = self.build(
            f"--tag={reference}", *outputs, *self.access.options, *options,
            variables={**self.access.variables, "BUILDX_METADATA_PROVENANCE": "max"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        (folder / "log").write_text(done.stdout)
        if self.engine.problem:
            docker_ok("image", "save", f"--output={archive}", reference)
        else:
            self.carry(reference)
        unpacked(archive)
        said = docker_ok("history", "--no-trunc", "--format={{json .}}", reference)
        (folder / "history").write_text(said)
        (folder / "configuration").write_text(docker_ok("image", "inspect", reference))
        return reference

    def lock(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Lock by the project's own bake file."""
        self.outside.write_text(
            json.dumps({"target": {"private": {"network": "host", "contexts": self.contexts}}})
        )
        return self.docker(
            "buildx", "bake", "--allow=network.host", "--allow=ssh", f"--allow=fs.read={self.outside}",
            "--file=docker-bake.hcl", f"--file={self.outside}", "lock",
            **self.access.variables, **variables,
        )  # fmt: skip

    def python(self, reference: str, code: str) -> str:
        """Return what a line of Python prints in a container, which the usual engine runs."""
        self.carry(reference)
        return docker_ok(
            "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--user=12345:0",
            "--entrypoint=python", reference, "-c", code,
        ).strip()  # fmt: skip

    def carry(self, reference: str) -> None:
        """Bring an image to the usual engine, where it can run."""
        if self.engine.elsewhere and reference not in self.carried:
            carry(reference, ["--host", self.engine.address], [])
        self.carried.add(reference)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of the project."""
        text = (self.project / name).read_text()
        assert old in text, f"no {old!r} in {name}"
        (self.project / name).write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def services(
    template: Path,
    accesses: Accesses,
    exporting: Engine,
    contexts: Contexts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Service]]:
    """A function that returns a service of SERVICES, locked."""
    made: dict[str, Service] = {}
    single = usual_engine("the builds of one stage go without")

    def service(name: str) -> Service:
        if name not in made:
            kind, layout, framework, base = SERVICES[name]
            access = accesses(kind)
            project = generate(
                template,
                tmp_path_factory.mktemp("private") / "billing-service",
                kind,
                access,
                image_layout=layout,
                framework=framework,
                base_image=base,
                python_source=PYTHONS[base],
                database=DATABASES[framework],
            )
            engine = exporting if layout == "multi-stage" else single
            bases = contexts((project / "Dockerfile").read_text(), engine)
            outside = tmp_path_factory.mktemp("outside") / "outside.json"
            new = Service(name, project, access, engine, bases, outside)
            # One of the packages says what it is only when it is built.
            done = new.lock(LOCK_OPTIONS="--build")
            assert done.returncode == 0, done.stdout
            assert not in_bytes(done.stdout.encode(), access.secrets)
            made[name] = new
        return made[name]

    yield service
    remove_images(
        "slipway-private-web",
        "slipway-private-job",
        *(f"slipway-test/{name}" for name in [*SERVICES, "edited"]),
    )


@pytest.fixture
def service(request: pytest.FixtureRequest, services: Callable[[str], Service]) -> Service:
    """A service, to be read only."""
    return services(request.param)


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test for some of the services."""
    return pytest.mark.parametrize("service", names, indirect=True)


# An image by its reference, and the folder of all that its build left.
Image = tuple[str, Path]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Service], Image]:
    """A function that returns a service's production image, built once a session."""
    made: dict[str, Image] = {}

    def image(service: Service) -> Image:
        if service.name not in made:
            folder = tmp_path_factory.mktemp("left") / "left"
            made[service.name] = service.leave(folder), folder
        return made[service.name]

    return image


def test_services_try_each_pair() -> None:
    """Each kind of private package with each layout, framework and base, and these among them."""
    for one, other in combinations(range(4), 2):
        values = [{row[i] for row in SERVICES.values()} for i in (one, other)]
        assert set(product(*values)) == {(row[one], row[other]) for row in SERVICES.values()}
    (question,) = (q for q in QUESTIONNAIRE.closed if q.name == "private_dependencies")
    assert [c.value for c in question.choices] == ["none", *KINDS]


@on(*SERVICES)
def test_image_imports_the_private_packages(
    service: Service, images: Callable[[Service], Image]
) -> None:
    said = service.python(images(service)[0], SHOW)
    assert said == f"{VERSIONS[0]} {VERSIONS[0]}"


def holds(folder: Path, content: bytes) -> bool:
    """Return whether a file of a folder holds some bytes."""
    return any(content in found for _, found in contents(folder))


@on(*SERVICES)
def test_no_secret_is_left_behind(service: Service, images: Callable[[Service], Image]) -> None:
    """In no layer, history, configuration, log, provenance or cache, nor in the project."""
    (reference, left), secrets = images(service), service.access.secrets
    assert secrets
    assert in_folder(left, secrets) == []
    assert in_folder(service.project, secrets) == []
    environment = service.python(reference, "import os; print(os.environ)")
    assert not in_bytes(environment.encode(), secrets)
    # What was searched is there.
    assert b"buildType" in (left / "metadata.json").read_bytes()
    assert holds(left / "image.unpacked", b"/acme_billing/__init__.py")
    if not service.engine.problem:
        assert holds(left / "image.unpacked", b"slsa.dev/provenance")
        # The cache holds the stage that fetches, too.
        fetched = (
            b"repositories/localhost:" if service.access.known_host == "" else b"repositories/git@"
        )
        index = b"private/production/lib/"
        assert holds(left / "cache", index if "index" in service.name else fetched)
    elif "multi" in service.name:
        pytest.skip(f"neither attestations nor cache: {service.engine.problem}")


@on(*GIT)
def test_builds_of_private_packages_see_no_secret(
    service: Service, images: Callable[[Service], Image]
) -> None:
    """One of them looks for secrets when it is built, and packs what it finds."""
    code = "import pathlib, acme_ledger as l; print((pathlib.Path(l.__file__).parent / 'loot.txt').read_text())"
    loot = service.python(images(service)[0], code)
    assert "PATH=" in loot
    assert not in_bytes(loot.encode(), service.access.secrets)
    assert not re.search(r"/run/(secrets|buildkit)|an agent answers|is a socket|password", loot)


@on(*SERVICES)
def test_git_does_not_ship(service: Service, images: Callable[[Service], Image]) -> None:
    code = "import shutil; print([p for p in ('git', 'ssh', 'ssh-add') if shutil.which(p)])"
    assert service.python(images(service)[0], code) == "[]"


MOUNT = "--mount=type=secret,id=git_token,required=true"
UNRELATED = "FROM scratch\nCOPY --from=0 /etc/debian_version /"


@on(*MULTI_STAGE)
def test_private_packages_have_a_layer_of_their_own(
    service: Service, images: Callable[[Service], Image]
) -> None:
    """Compiled like the others, and without the bytecode of these once more."""
    reference = images(service)[0]
    history = docker_ok(
        "history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedBy}}", reference
    )
    (size,) = (
        int(line.split()[0]) for line in history.splitlines() if "/private/production" in line
    )
    assert 0 < size < 100_000
    cached = (
        "import acme_billing as b, importlib.util as u, os;"
        "print(os.path.exists(u.cache_from_source(b.__file__)))"
    )
    assert service.python(reference, cached) == "True"


# Ways to do it wrongly, and where each leaves the secret.
PLANTED = {
    "an argument": (
        'ARG GIT_TOKEN\nRUN echo "$GIT_TOKEN" | wc -c',
        {"history", "metadata.json", "image.unpacked"},
    ),
    "a file that is removed later": (
        f"RUN {MOUNT} cp /run/secrets/git_token /root/.netrc\nRUN rm /root/.netrc",
        {"image.unpacked", "cache"},
    ),
    "a line of the log": (f"RUN {MOUNT} cat /run/secrets/git_token", {"log"}),
    "a stage that does not ship": (
        f"RUN {MOUNT} base64 /run/secrets/git_token > /token\n{UNRELATED}",
        {"cache"},
    ),
}


@on("git-https-multi")
@pytest.mark.parametrize("way", PLANTED)
def test_a_planted_leak_is_found(service: Service, way: str, tmp_path: Path) -> None:
    lines, places = PLANTED[way]
    wrong = service.at(tmp_path / "wrong")
    (wrong.project / "Dockerfile").write_text(f"FROM {next(iter(service.contexts))}\n{lines}\n")
    left = tmp_path / "left"
    wrong.leave(left, "--no-cache", *(["--build-arg=GIT_TOKEN"] if "ARG" in lines else []))
    found = {place.split("/")[0] for place in in_folder(left, service.access.secrets)}
    if service.engine.problem:
        places = places - {"cache"}
    assert places <= found, found
    # Each is found where it is, and not wherever one looks.
    assert found != {path.name for path in left.iterdir()}
    if not places:
        pytest.skip(f"no cache: {service.engine.problem}")


def refused(service: Service, *options: str, variables: Mapping[str, str]) -> list[str]:
    """Return the lines of a build that must fail when it fetches, and tell no secret."""
    if service.layout == "multi-stage":
        fetches = "repositories" if "git" in service.name else "private"
        options = (f"--no-cache-filter={fetches}", *options)
    else:
        service.edit("pyproject.toml", "line-length = 100", "line-length = 99")
    done = service.build(*options, variables=variables)
    assert done.returncode != 0, done.stdout
    every = [*service.access.secrets, *service.access.variables.values(), *variables.values()]
    assert not in_bytes(done.stdout.encode(), filter(None, every))
    return done.stdout.splitlines()


@on(*SERVICES)
def test_without_a_secret_one_line_says_what_to_pass(service: Service, tmp_path: Path) -> None:
    lines = refused(service.at(tmp_path / "none"), variables={})
    needed = {"git_token", "ssh default", "index_username"}
    said = [
        line for line in lines if "# Needs " in line and "Private packages in README.md" in line
    ]
    assert said
    assert any(name in line for line in said for name in needed)
    assert "## Private packages" in (service.project / "README.md").read_text()


# Words of the advice for causes that each kind has, in the README's table.
LOGIN = "read"
ADDRESS = "VPN"


def explained(service: Service, lines: list[str]) -> str:
    """Check how a build ends, and return the advice that the README has for it, or a word of it.

    Its table finds the cause by what git and uv say, in one row alone.
    """
    said = [line.partition(" ")[2] for line in lines if re.match(r"[\d.]+ Cannot ", line)]
    assert len(set(said)) == 1, "\n".join(lines)
    last = r"Cannot (fetch (from )?\S+|fetch private packages|lock)\. See above, and Private packages in README\.md\."
    assert re.fullmatch(last, said[0]), said[0]
    log = "\n".join(re.findall(r"^[\d.]+ (.*)", "\n".join(lines), re.MULTILINE))
    section = (service.project / "README.md").read_text().partition("## Private packages")[2]
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", section.partition("\n## ")[0], re.MULTILINE)
    found = [
        advice
        for causes, advice in rows
        if any(cause in log for cause in re.findall("`(.*?)`", causes))
    ]
    assert len(found) == 1, (found, log)
    words = (
        LOGIN,
        ADDRESS,
        "company-ca.crt",
        "another file",
        "publish one",
        "--build",
        "known_hosts",
    )
    return next(word for word in words if word in found[0])


@on(*SERVICES)
@pytest.mark.parametrize("problem", ["wrong", "empty", "unreachable"])
def test_what_cannot_be_fetched_ends_in_one_line(
    service: Service, problem: str, tmp_path: Path
) -> None:
    access, variables = service.access, dict(service.access.variables)
    other = service.at(tmp_path / problem)
    if problem == "wrong":
        variables = dict(access.wrong)
    elif problem == "empty" and "SSH_AUTH_SOCK" not in variables:
        variables = dict.fromkeys(variables, "")
    elif problem == "empty":
        other.edit("known_hosts", access.known_host, "")
    else:
        host = access.host if access.host.startswith("localhost") else access.index.split("/")[2]
        for name in ("pyproject.toml", "uv.lock", "Dockerfile"):
            text = (other.project / name).read_text()
            (other.project / name).write_text(text.replace(host, "localhost:1"))
    lines = refused(other, *access.options, variables=variables)
    empty = "known_hosts" if "SSH_AUTH_SOCK" in access.variables else LOGIN
    causes = {"wrong": LOGIN, "empty": empty, "unreachable": ADDRESS}
    assert explained(other, lines) == causes[problem]


@on("git-https-multi", "index-multi")
def test_an_unknown_authority_is_not_taken_for_a_wrong_login(
    service: Service, tmp_path: Path
) -> None:
    other = service.at(tmp_path / "untrusting")
    system = "/etc/ssl/certs/ca-certificates.crt"
    yours = "# Yours: packages and files that each target needs.\n"
    other.edit("Dockerfile", yours, f"{yours}ENV SSL_CERT_FILE={system} GIT_SSL_CAINFO={system}\n")
    lines = refused(other, *other.access.options, variables=other.access.variables)
    assert explained(other, lines) == "company-ca.crt"


@on("git-https-multi")
def test_a_package_with_submodules_is_refused(
    service: Service, forge_server: Forge, tmp_path: Path
) -> None:
    """In one line, before it is built: uv cannot find them where the repositories are then."""
    work, bare = tmp_path / "work", forge_server.folder / "git/acme/harbor.git"
    shutil.copytree(forge_server.folder / "work" / BEACON, work)
    edited = (work / "pyproject.toml").read_text().replace(BEACON, "harbor")
    (work / "pyproject.toml").write_text(edited)
    (work / BEACON).rename(work / "harbor")
    (work / ".gitmodules").write_text('[submodule "a"]\n\tpath = a\n\turl = ../a.git\n')
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    run("git", "add", "--all", cwd=work)
    run("git", *identity, "commit", "--quiet", "--message=Submodule", cwd=work)
    run("git", "clone", "--quiet", "--bare", work, bare)
    other = service.at(tmp_path / "submodules")
    dependency = f'    "harbor @ git+https://{other.access.host}/acme/harbor.git",\n'
    other.edit("pyproject.toml", "dependencies = [\n", f"dependencies = [\n{dependency}")
    done = other.lock(LOCK_OPTIONS="--build")
    assert done.returncode == 0, done.stdout
    lines = refused(other, *other.access.options, variables=other.access.variables)
    said = {line.partition(" ")[2] for line in lines if re.match(r"[\d.]+ .* has submodules", line)}
    url = f"https://{other.access.host}/acme/harbor.git"
    assert said == {f"{url} has submodules. See Private packages in README.md."}
    assert "| `submodules` |" in (other.project / "README.md").read_text()


@on("index-multi")
def test_a_lock_without_hashes_is_refused_before_anything_is_fetched(
    service: Service, tmp_path: Path
) -> None:
    other = service.at(tmp_path / "unhashed")
    text = (other.project / "uv.lock").read_text()
    before, name, rest = text.partition(f'name = "{BILLING}"')
    rest = re.sub(', hash = "sha256:[0-9a-f]{64}"', "", rest, count=1)
    (other.project / "uv.lock").write_text(before + name + rest)
    done = other.build()
    assert done.returncode != 0
    assert f"No hash for {BILLING}. See Private packages in README.md.\n" in done.stdout
    assert "Needs the secrets" not in done.stdout


@on("index-multi")
def test_another_file_than_the_locked_one_is_not_taken_for_a_wrong_login(
    service: Service, tmp_path: Path
) -> None:
    other = service.at(tmp_path / "hash")
    text = (other.project / "uv.lock").read_text()
    before, name, rest = text.partition(f'name = "{BILLING}"')
    digest = re.search("sha256:[0-9a-f]{64}", rest)
    assert digest
    changed = rest.replace(digest[0], f"sha256:{'0' * 64}")
    (other.project / "uv.lock").write_text(before + name + changed)
    lines = refused(other, *other.access.options, variables=other.access.variables)
    assert explained(other, lines) == "another file"


@on("git-https-multi", "index-multi")
def test_private_packages_are_fetched_when_they_change(
    service: Service, images: Callable[[Service], Image], tmp_path: Path
) -> None:
    """Not for a code edit or another dependency: such a build needs no secret at all."""
    images(service)
    other = service.at(tmp_path / "edited")
    other.edit("pyproject.toml", "dependencies = [", 'dependencies = [\n    "six",')
    with next((other.project / "src").glob("*/__init__.py")).open("a") as module:
        module.write("\nEDITED = True\n")
    assert other.lock(LOCK_OPTIONS="--build").returncode == 0
    unlocked = other.build("--tag=slipway-test/edited:latest")
    assert unlocked.returncode == 0, unlocked.stdout
    assert other.python("slipway-test/edited:latest", f"import six; {SHOW}") == "1.0.0 1.0.0"
    other.edit("pyproject.toml", VERSIONS[0], VERSIONS[1])
    done = other.lock(LOCK_OPTIONS="--build --upgrade-package acme-ledger")
    assert done.returncode == 0, done.stdout
    assert other.build().returncode != 0
    assert other.python(other.image(), SHOW) == "1.1.0 1.1.0"


@on("git-https-multi")
def test_locking_in_a_container_builds_nothing(service: Service, tmp_path: Path) -> None:
    other = service.at(tmp_path / "unlocked")
    (other.project / "uv.lock").unlink()
    done = other.lock()
    assert done.returncode != 0
    assert f"Building source distributions for `{LEDGER}` is disabled" in done.stdout
    assert explained(other, done.stdout.splitlines()) == "--build"


@on("index-multi")
def test_a_source_distribution_of_the_index_is_not_built(service: Service, tmp_path: Path) -> None:
    other = service.at(tmp_path / "source")
    other.edit("pyproject.toml", f'"{BILLING}=={VERSIONS[0]}"', f'"{LEDGER}=={UNBUILT}"')
    other.edit("pyproject.toml", f'    "{LEDGER}",\n', "")
    assert other.lock(LOCK_OPTIONS="--build").returncode == 0
    lines = refused(other, *other.access.options, variables=other.access.variables)
    assert explained(other, lines) == "publish one"


def compose(service: Service, name: str, tmp_path: Path) -> None:
    """Build a service of the compose file, by the command of the message after a copy."""
    override = tmp_path / "override.yaml"
    build = {"network": "host", "entitlements": ["network.host"]}
    build["additional_contexts"] = dict(service.contexts)  # type: ignore[assignment]
    override.write_text(json.dumps({"services": {name: {"build": build}}}))
    files = ["--file=compose.yaml", f"--file={override}"]
    command = ["compose", "--project-name=slipway-private", *files, "build", name]
    done = service.docker(*command, **service.access.variables)
    assert done.returncode == 0, done.stdout
    assert not in_bytes(done.stdout.encode(), service.access.secrets)
    assert service.python(f"slipway-private-{name}", f"import pytest; {SHOW}") == "1.0.0 1.0.0"


@on(*MULTI_STAGE)
def test_compose_passes_the_secret_on(service: Service, tmp_path: Path) -> None:
    """To the dev target."""
    compose(service, "web", tmp_path)


@pytest.fixture
def untrusting() -> Iterator[str]:
    """The image of Python without the settings by which this machine's stand-in trusts others."""
    reference = f"slipway-test/untrusting:{uuid.uuid4().hex[:12]}"
    container = docker_ok("create", "python:3.13-slim-trixie", "true").strip()
    try:
        run("sh", "-c", f"docker export {container} | docker import - {reference}")
        yield reference
    finally:
        docker("rm", container)
        docker("image", "rm", "--force", reference)


@pytest.mark.parametrize(
    ("kind", "layout"), [("git-https", "multi-stage"), ("index", "single-stage")]
)
def test_a_companys_authority_is_trusted(
    kind: str,
    layout: str,
    template: Path,
    accesses: Accesses,
    certificates: Path,
    untrusting: str,
    tmp_path: Path,
) -> None:
    """By an answer and a file, where nothing else knows it: locks, images, compose, and the host."""
    access = accesses(kind)
    project = generate(
        template, tmp_path / "billing-service", kind, access, company_ca=True, framework="job",
        database="none", image_layout=layout, python_version="3.13",
    )  # fmt: skip
    contexts = {"python:3.13-slim-trixie": f"docker-image://{untrusting}"}
    outside = tmp_path / "outside.json"
    service = Service(kind, project, access, usual_engine("not needed"), contexts, outside)
    without = service.lock(LOCK_OPTIONS="--build")
    assert re.search(r'"/company-ca.crt": not found', without.stdout), without.stdout
    # This machine may reach other servers through an authority of its own.
    shutil.copy(certificates, project / "company-ca.crt")
    done = service.lock(LOCK_OPTIONS="--build")
    assert done.returncode == 0, done.stdout
    assert service.python(service.image(), SHOW) == "1.0.0 1.0.0"
    compose(service, "job", tmp_path)

    section = (project / "README.md").read_text().partition("## Private packages")[2]
    (trust,) = re.findall(r"```console\n(\$ cat (?:.*\n)*?)```", section)
    known = environment(machine(access, certificates, tmp_path / "home") | logged_in(kind, access))
    known = {n: v for n, v in known.items() if n not in {"SSL_CERT_FILE", "GIT_SSL_CAINFO"}}
    sync = "uv sync --python 3.13"
    refused = attempt("sh", "-euc", sync, cwd=project, env=known, merged=True)
    assert re.search("UnknownIssuer|certificate", refused.stdout), refused.stdout
    run("sh", "-euc", trust.replace("$ ", "") + sync, cwd=project, env=known)


@on(*SERVICES)
def test_engine_finds_nothing_to_say_about_the_dockerfile(service: Service) -> None:
    done = service.build("--check")
    assert "no warnings found" in done.stdout.lower(), done.stdout


@dataclass(frozen=True)
class Desk:
    """A developer's machine, with a project on it."""

    project: Path
    home: Path
    variables: Mapping[str, str]

    def run(self, command: str, **variables: str) -> Completed:
        """Run a shell's command line."""
        known = environment({**self.variables, **variables})
        return attempt("sh", "-euc", command, cwd=self.project, env=known, merged=True)

    def ok(self, command: str, **variables: str) -> str:
        """Run a command line that must succeed and return what it prints."""
        done = self.run(command, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def desk(kind: str, template: Path, accesses: Accesses, certificates: Path, tmp_path: Path) -> Desk:
    """A project with private packages of a kind, on a machine without a cache or settings."""
    access = accesses(kind)
    version = require_python().version
    project = generate(
        template,
        tmp_path / "billing-service",
        kind,
        access,
        framework="job",
        python_version=version,
    )
    home = tmp_path / "home"
    return Desk(project, home, machine(access, certificates, home))


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_of_the_readme(kind: str, desk: Desk, accesses: Accesses) -> None:
    """Locally with what is in the environment; nothing is written, and the linters need none."""
    access = accesses(kind)
    readme = (desk.project / "README.md").read_text()
    section = readme.partition("## Private packages")[2].partition("\n## ")[0]
    blocks = [block.partition("```")[0] for block in section.split("```console\n")[1:]]
    (*here, build), ci = ([line[2:] for line in block.splitlines()] for block in blocks)
    assert here[-1].startswith("uv sync")
    for name, value in access.variables.items():
        here = [line.replace(f"{name}=...", f"{name}={value}") for line in here]
    agent = {"SSH_AUTH_SOCK": access.variables["SSH_AUTH_SOCK"]} if kind == "git-ssh" else {}
    without = desk.run("uv sync")
    assert without.returncode != 0
    desk.ok("\n".join(here), **agent)
    assert desk.ok(f'uv run --no-sync python -c "{SHOW}"').strip() == "1.0.0 1.0.0"
    # The package that looks for secrets does find the developer's token: it is built there.
    written = [name for name in in_folder(desk.project, access.secrets) if "loot.txt" not in name]
    assert written == []
    assert [n for n in in_folder(desk.home, access.secrets) if "loot.txt" not in n] == []
    assert [f"--{o}" for o in build.replace("--ssh ", "--ssh=").replace("--secret ", "--secret=").split(" --")[1:]] == [
        *access.options[:-1], f"{access.options[-1]} ."
    ]  # fmt: skip
    # The secrets belong to an environment, which has to be there before them.
    create, *set_secrets = ci
    made = re.fullmatch(
        r"gh api --method PUT 'repos/\{owner\}/\{repo\}/environments/([\w-]+)'", create
    )
    assert made
    secrets = ["SSH_PRIVATE_KEY"] if kind == "git-ssh" else [*access.variables]
    key = " < deploy_key" if kind == "git-ssh" else ""
    assert set_secrets == [f"gh secret set --env {made[1]} {name}{key}" for name in secrets]
    workflow = (desk.project / ".github/workflows/ci.yml").read_text()
    assert f"environment: {{name: {made[1]}," in workflow

    shutil.rmtree(desk.home / "uv")
    shutil.rmtree(desk.project / ".venv")
    desk.ok("uv run --locked --only-group quality ruff check")
    assert desk.run("uv sync --locked").returncode != 0


@pytest.mark.parametrize("kind", ["index"])
def test_a_higher_version_elsewhere_is_not_taken(
    kind: str, desk: Desk, accesses: Accesses, forge_server: Forge
) -> None:
    """Dependency confusion: anybody can upload to the other index, which is asked first."""
    access = accesses(kind)
    manifest = desk.project / "pyproject.toml"
    manifest.write_text(manifest.read_text().replace(f"=={VERSIONS[0]}", ""))
    variables = {
        "UV_INDEX": forge_server.public_index,
        "UV_INDEX_PRIVATE_USERNAME": access.variables["INDEX_USERNAME"],
        "UV_INDEX_PRIVATE_PASSWORD": access.variables["INDEX_PASSWORD"],
    }

    def locked() -> dict[str, str]:
        desk.ok("uv lock", **variables)
        packages = tomllib.loads((desk.project / "uv.lock").read_text())["package"]
        return {p["name"]: p["version"] for p in packages if p["name"] in (BILLING, LEDGER)}

    assert locked() == dict.fromkeys((BILLING, LEDGER), VERSIONS[1])
    desk.ok("uv sync --locked", **variables)
    assert desk.ok(f'uv run --no-sync python -c "{SHOW}"').strip() == "1.1.0 1.1.0"
    manifest.write_text(manifest.read_text().replace(f'{BILLING} = {{ index = "private" }}\n', ""))
    manifest.write_text(manifest.read_text().replace(f'{LEDGER} = {{ index = "private" }}\n', ""))
    assert locked() == dict.fromkeys((BILLING, LEDGER), CONFUSED)


@pytest.mark.parametrize(
    ("host", "fingerprint"),
    [
        ("github.com", "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"),
        ("gitlab.com", "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8"),
    ],
)
def test_host_keys_are_those_that_the_hosts_publish(
    host: str, fingerprint: str, template: Path, tmp_path: Path
) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen")
    answers = {"private_dependencies": "git-ssh", "private_host": host}
    project = copy(template, tmp_path / "project", answers).path
    keys = run("ssh-keygen", "-l", "-f", project / "known_hosts")
    assert keys.split()[1:] == [fingerprint, host, "(ED25519)"]
