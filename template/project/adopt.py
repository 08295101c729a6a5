# /// script
# requires-python = ">=3.11"
# dependencies = ["pyyaml==6.0.3", "tomlkit==0.15.1"]
# ///
"""Prepare an existing project for the template's Dockerfile and CI.

    uv run adopt.py merge     add to pyproject.toml what it lacks of pyproject.fragment.toml
    uv run adopt.py doctor    list what the project lacks for its image

When nothing is missing, delete this file and pyproject.fragment.toml.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import tomlkit
import yaml
from tomlkit.exceptions import ParseError

SCRIPT = Path(__file__)
FRAGMENT = "pyproject.fragment.toml"


@dataclass(frozen=True)
class Finding:
    """Something that the project lacks, and what to do about it."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.problem}: {self.remedy}"


@dataclass(frozen=True)
class Missing:
    """An entry of the fragment that a table or a list in pyproject.toml does not have."""

    path: str
    entry: Any
    source: Any
    target: Any

    @property
    def name(self) -> str:
        """The entry as people write it: a requirement, or the name of a setting or a table."""
        return name_of(self.entry) if isinstance(self.entry, dict) else str(self.entry)

    def add(self) -> None:
        """Add the entry after those that are there."""
        if isinstance(self.source, dict):
            self.target[self.entry] = self.source[self.entry]
        else:
            self.target.append(self.entry)


class Project:
    """The project in this file's folder, with its answers to the template's questions."""

    def __init__(self, folder: Path) -> None:
        """Read the files that this script works on.

        Exits with one line that names a file that is missing or is not TOML.
        """
        self.folder = folder
        self.answers: dict[str, Any] = yaml.safe_load(self.read(".copier-answers.yml"))
        self.fragment = self.parse(FRAGMENT)
        self.pyproject = self.parse("pyproject.toml")

    def read(self, name: str) -> str:
        """Return the text of a file."""
        if not (self.folder / name).exists():
            sys.exit(f"{SCRIPT.name} needs {name} in the same folder")
        return (self.folder / name).read_text()

    def parse(self, name: str) -> dict[str, Any]:
        """Return the content of a TOML file, with its comments and its layout."""
        try:
            return tomlkit.parse(self.read(name) + "\n")
        except ParseError as error:
            sys.exit(f"{name}: {error}")

    def uv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run uv as a user would in the project's folder, and keep what it prints."""
        # This script runs in an environment of its own, which uv must not take for the project's.
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return subprocess.run(  # noqa: S603
            [os.environ.get("UV", "uv"), *arguments, "--color=never"],
            cwd=self.folder,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )


def reason(stderr: str) -> str:
    """Return why uv failed, in one line.

    Its explanation of a clash ends with the requirements that cannot be met together.
    """
    premises = re.findall(r"[Bb]ecause (.*?),?\s+we can conclude", stderr, re.DOTALL)
    clashes = [premise for premise in premises if " depends on " in premise]
    errors = re.findall(r"^(?:error|  cause): (.*)", stderr, re.MULTILINE)
    return " ".join(("; ".join(clashes[-2:]) or ": ".join(errors)).split())


def name_of(entry: Any) -> str:
    """Return the name by which an entry is recognized, whatever its value or version is.

    It is the package of a requirement, or the name of a setting or of a table in a list.
    """
    if isinstance(entry, dict):
        return str(entry.get("name", entry))
    return re.split(r"[^\w.-]", str(entry).lower(), maxsplit=1)[0].replace("_", "-")


def lacks(target: Any, source: Any, path: str) -> Iterator[Missing]:
    """Yield each entry of `source` that `target`, a table or a list, does not have."""
    for entry in source:
        same = [other for other in target if name_of(other) == name_of(entry)]
        if not same:
            yield Missing(path, entry, source, target)
            continue
        if isinstance(entry, dict):
            inner, wanted = same[0], entry
        elif isinstance(source, dict):
            inner, wanted = target[same[0]], source[entry]
        else:
            continue
        # A value of another kind is a choice of its own: default-groups = "all".
        if isinstance(inner, dict | list) and isinstance(wanted, dict | list):
            yield from lacks(inner, wanted, f"{path}.{name_of(entry)}")


def required(project: Project) -> list[Missing]:
    """Return what pyproject.toml lacks for the Dockerfile and CI: groups, and settings of uv."""
    groups = project.pyproject.setdefault("dependency-groups", tomlkit.table())
    tools = project.pyproject.setdefault("tool", tomlkit.table(is_super_table=True))
    return [
        *lacks(groups, project.fragment["dependency-groups"], "dependency-groups"),
        *lacks(tools, {"uv": project.fragment["tool"]["uv"]}, "tool"),
    ]


def optional(project: Project) -> list[Missing]:
    """Return the settings of other tools, for those tools that have none yet."""
    tools, source = project.pyproject["tool"], project.fragment["tool"]
    names = [name for name in source if name != "uv" and name not in tools]
    return [Missing("tool", name, source, tools) for name in names]


def merge(project: Project) -> None:
    """Add to pyproject.toml what it lacks, unless uv cannot lock the result."""
    for entry in required(project) + optional(project):
        entry.add()
    path = project.folder / "pyproject.toml"
    before = path.read_bytes()
    lockable = False
    # Not in a copy: paths in sources start from this folder, which may be part of a workspace.
    try:
        path.write_text(tomlkit.dumps(project.pyproject).rstrip() + "\n")
        locked = project.uv("lock", "--dry-run")
        lockable = locked.returncode == 0
    finally:
        if not lockable:
            path.write_bytes(before)
    if not lockable:
        refuse(project, reason(locked.stderr))
    moves = [line for line in locked.stderr.splitlines() if line.startswith(("Update", "Remove"))]
    if moves:
        print("`uv lock` will change these locked versions:", *moves, sep="\n    ")


def refuse(project: Project, why: str) -> NoReturn:
    """Exit with one line that says why nothing was added."""
    unchanged = project.uv("lock", "--dry-run")
    if unchanged.returncode != 0:
        why = reason(unchanged.stderr)
        sys.exit(f"Nothing was added: uv cannot lock pyproject.toml as it is: {why}")
    remedy = f"change one of them, in pyproject.toml or {FRAGMENT}, and run this again"
    remedy = f": {remedy}" if " depends on " in why else ""
    sys.exit(f"Nothing was added: uv cannot lock the result: {why}{remedy}")


def check_pyproject(project: Project) -> Iterator[Finding]:
    """Find the groups and settings that the Dockerfile and CI work with."""
    for missing in required(project):
        problem = f"pyproject.toml: no {missing.name} in {missing.path}"
        yield Finding(problem, f"`uv run {SCRIPT.name} merge` adds it")


def check_files(project: Project) -> Iterator[Finding]:
    """Find the files that the image is built from."""
    remedies = {
        "uv.lock": "run `uv lock`",
        "alembic.ini": "run `uv add alembic` and `uv run alembic init migrations`",
        "migrations": "run `uv add alembic` and `uv run alembic init migrations`",
        "tests": "move your tests there",
    }
    lines = project.read(".dockerignore").splitlines()
    for name in (line[1:] for line in lines if line.startswith("!")):
        if not (project.folder / name).exists():
            yield Finding(f"{name} is missing", remedies.get(name, "the image is built from it"))
    module = {"django": "wsgi", "fastapi": "main", "job": "__main__"}[project.answers["framework"]]
    name = f"src/{project.answers['package_name']}/{module}.py"
    if not (project.folder / name).exists():
        yield Finding(f"{name} is missing", "the image starts it, so move your package there")


def check_code(project: Project) -> Iterator[Finding]:
    """Find what the image asks of the code: a health check, and a place for static files."""
    words = {
        "livez": "answer GET /livez with status 200: the image's health check asks for it",
        "STATIC_ROOT": 'set it to the folder "staticfiles" beside src in the settings',
    }
    asked = {"django": ["livez", "STATIC_ROOT"], "fastapi": ["livez"], "job": []}
    code = "".join(path.read_text() for path in (project.folder / "src").rglob("*.py"))
    for word in asked[project.answers["framework"]]:
        if word not in code:
            yield Finding(f"src: no {word}", words[word])


def check_lock(project: Project) -> Iterator[Finding]:
    """Find what keeps uv from installing the locked packages in the image."""
    if not (project.folder / "uv.lock").exists():
        return
    checked = project.uv("lock", "--check")
    if checked.returncode != 0:
        yield Finding(f"uv.lock: {reason(checked.stderr)}", "run `uv lock`")
    private_git = project.answers["private_dependencies"] in ("git-https", "git-ssh")
    for package in tomllib.loads(project.read("uv.lock")).get("package", []):
        name, source = package["name"], package["source"]
        if source.get("directory", source.get("editable", ".")) != ".":
            problem = f"uv.lock: {name} is a folder outside of src"
            yield Finding(problem, "move it into src, or depend on a release of it")
        if "git" in source and not private_git:
            problem = f"uv.lock: {name} is from git, and the image takes only what has a hash"
            yield Finding(problem, "depend on an archive of it, or answer private_dependencies")


CHECKS: list[Callable[[Project], Iterator[Finding]]] = [
    check_pyproject,
    check_files,
    check_code,
    check_lock,
]


def doctor(project: Project) -> None:
    """Print what the project lacks, one finding a line. Exits with 1 if there is any."""
    findings = [finding for check in CHECKS for finding in check(project)]
    if findings:
        print(*findings, sep="\n")
        sys.exit(1)
    print(f"Nothing is missing. {SCRIPT.name} and {FRAGMENT} can be deleted.")


def main() -> None:
    """Run the command that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"merge": merge, "doctor": doctor}
    parser.add_argument("command", choices=commands)
    commands[parser.parse_args().command](Project(SCRIPT.parent))


if __name__ == "__main__":
    main()
