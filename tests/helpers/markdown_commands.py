"""Guides in docs/, whose commands tests run as they are written."""

import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.commands import attempt
from helpers.git_repositories import TrackedProject
from helpers.git_servers import forge, trusted
from helpers.host_python import environment, require_python
from helpers.profiles import ROOT

# Where the projects have their private packages from, until a server stands in for it.
ACME = "https://git.acme.example"


@dataclass(frozen=True)
class Guide:
    """A way to the template for a project that exists: its own guide, then the one for all."""

    name: str
    project: str
    # The parts of the guide for all that are not for this project.
    without: tuple[str, ...] = ("### Django",)

    @property
    def first(self) -> list[str]:
        """The steps of its own guide."""
        return steps(read(self.name))

    @property
    def before_the_image(self) -> list[str]:
        """The steps that follow, for which no container engine is needed."""
        return steps(self._common.partition("## The image")[0])

    @property
    def image(self) -> list[str]:
        """The steps that are left."""
        return steps(section(self._common, "The image"))

    @property
    def _common(self) -> str:
        text = read("adopting")
        for part in self.without:
            text, found = re.subn(rf"(?ms)^{part}\n.*?(?=^##)", "", text)
            assert found == 1, f"no part {part}"
        return text

    @property
    def files(self) -> Path:
        """The project that the guide begins with."""
        return ROOT / "tests/data/projects" / self.name

    @property
    def pinned(self) -> dict[str, str]:
        """The versions that the project has at the start, by the names of packages."""
        if (lock := self.files / "poetry.lock").exists():
            return {p["name"]: p["version"] for p in tomllib.loads(lock.read_text())["package"]}
        text = "".join(file.read_text() for file in self.files.glob("*requirements*.txt"))
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


GUIDES = {
    guide.name: guide
    for guide in (
        Guide("from-pip", "tides"),
        Guide("from-pip-tools", "harbour", without=()),
        Guide("from-poetry", "lantern"),
    )
}


def read(name: str) -> str:
    """Return the text of a guide."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def section(text: str, title: str) -> str:
    """Return what stands under a heading of a guide."""
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"no part {title!r}"
    return rest.partition("\n## ")[0]


def steps(text: str) -> list[str]:
    """Return what a guide tells to do, in order, as command lines.

    A block of a console holds commands. Another block belongs at the end of the file that the
    paragraph before it ends with.
    """
    blocks = re.findall(r"(?:^(.*)\n)?\n```(\w+)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    assert text.count("```") == 2 * len(blocks), "a block that this does not understand"
    return [line for block in blocks for line in _lines(*block)]


def _lines(before: str, kind: str, block: str) -> Iterator[str]:
    if kind == "console":
        for line in block.splitlines():
            assert line.startswith("$ "), f"no command: {line}"
            yield line.removeprefix("$ ")
    else:
        file = re.search(r"`(\S+)`:$", before)
        assert file, f"no file for the block after {before!r}"
        yield f"cat >> {file[1]} << 'END'\n{block}END"


def tutorial(*titles: str) -> list[str]:
    """Return the steps of parts of the tutorial, with a Python that this host has."""
    python = require_python().version
    lines = [line for title in titles for line in steps(section(read("tutorial"), title))]
    with_python = f"--defaults -d python_version={python}"
    return [line.replace("--defaults", with_python) for line in lines]


def newcomer(address: str, folder: Path) -> "Follower":
    """Return who follows a page in a folder, with the template at an address."""
    variables = {"SLIPWAY": address}
    for role in "AUTHOR", "COMMITTER":
        variables |= {f"GIT_{role}_NAME": "Test", f"GIT_{role}_EMAIL": "test@example.com"}
    return Follower(TrackedProject(folder), variables)


@dataclass(frozen=True)
class Follower:
    """Who follows a guide in its project, in a shell that knows some variables."""

    project: TrackedProject
    variables: Mapping[str, str]

    def follow(self, lines: list[str]) -> str:
        """Run command lines in one shell, each as it is written, and return what they print.

        Raises AssertionError with that where one fails.
        """
        script = "\n".join(lines)
        variables = environment(self.variables)
        ran = attempt(
            "bash", "-ex", "-c", script, cwd=self.project.path, env=variables, merged=True
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    @property
    def locked(self) -> dict[str, str]:
        """The versions in uv.lock, by the names of packages."""
        packages = tomllib.loads(self.project.read("uv.lock"))["package"]
        return {package["name"]: package["version"] for package in packages}


@contextmanager
def follower(guide: Guide, template: Path, parent: Path, address: str = "") -> Iterator[Follower]:
    """Lay out the project of a guide, committed, and serve at an address what it comes from.

    Without an address this machine alone is served.
    """
    (parent / "forge").mkdir()
    with forge(parent / "forge", *([address, address] if address else [])) as server:
        project = TrackedProject(parent / guide.project)
        shutil.copytree(guide.files, project.path)
        for file in ("pyproject.toml", "poetry.lock"):
            if (project.path / file).exists():
                text = project.read(file).replace(ACME, f"https://{server.host}")
                project.write(file, text)
        project.git("init", "--quiet")
        project.git("config", "user.name", "Test")
        project.git("config", "user.email", "test@example.com")
        project.write(".gitignore", ".venv/\n__pycache__/\n*.sqlite3\n")
        project.commit("Start")
        bundle = trusted(parent / "bundle.pem", server.authority)
        yield Follower(
            project,
            {
                "SLIPWAY": str(template),
                "FORGE": f"https://{server.host}",
                "POETRY_HTTP_BASIC_ACME_USERNAME": server.username,
                "POETRY_HTTP_BASIC_ACME_PASSWORD": server.password,
                "SSL_CERT_FILE": str(bundle),
                "GIT_SSL_CAINFO": str(bundle),
            },
        )
