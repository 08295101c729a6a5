# /// script
# requires-python = ">=3.11"
# dependencies = ["packaging==26.3", "pyyaml==6.0.3", "tomlkit==0.15.1"]
# ///
"""Prepare an existing project for the template's Dockerfile and CI.

    uv run adopt.py merge     add to pyproject.toml what it lacks of pyproject.fragment.toml
    uv run adopt.py doctor    list what the project lacks for its image

When nothing is missing, delete this file and pyproject.fragment.toml.
"""

import argparse
import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from importlib import import_module
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import tomlkit
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name as canonical
from packaging.version import Version
from tomlkit.exceptions import ParseError

SCRIPT = Path(__file__)
FRAGMENT = "pyproject.fragment.toml"
# The groups in the production image. The others are for tools.
RUN_TIME = ("prod", "gpu")

Finished = subprocess.CompletedProcess[str]


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
        """Add the entry after the existing ones."""
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

    @property
    def packages(self) -> list[str]:
        """The names of the packages in src, sorted."""
        return sorted(path.parent.name for path in self.folder.glob("src/*/__init__.py"))

    @cached_property
    def lockfile(self) -> Path:
        """Where uv.lock is or will be: a workspace has one for all of its members."""
        return Path(self.uv("workspace", "dir").stdout.strip() or self.folder) / "uv.lock"

    def uv(self, *arguments: str) -> Finished:
        """Run uv as a user would in the project's folder, and capture its output."""
        return self.run("uv", *arguments)

    def run(
        self,
        *command: str,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        kept: str = ".*",
    ) -> Finished:
        """Run a command in the project's folder or another one, and capture its output.

        Its environment is `variables` and those of this process whose names match `kept`. A missing
        program counts as one that fails.
        """
        # This script has its own environment, which uv must not mistake for the project's.
        own = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        environment = {name: value for name, value in own.items() if re.fullmatch(kept, name)}
        environment |= {"NO_COLOR": "1"} | dict(variables or {})
        program, *arguments = command
        if program == "uv":
            program = os.environ.get("UV", program)
        try:
            return subprocess.run(  # noqa: S603
                [program, *arguments],
                cwd=folder or self.folder,
                env=environment,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            return Finished(command, 127, "", f"{program} is not installed")


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
        # A value of another type is a deliberate choice, such as default-groups = "all".
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


def requirements(pyproject: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each requirement of the project and of its groups, with its location first."""
    for requirement in pyproject["project"].get("dependencies", []):
        yield "dependencies", str(requirement)
    for group, entries in pyproject.get("dependency-groups", {}).items():
        yield from ((group, str(entry)) for entry in entries if isinstance(entry, str))


def require_name(project: Project) -> None:
    """Exit with one line if pyproject.toml has nothing but settings for tools."""
    if "name" not in project.pyproject.get("project", {}):
        sys.exit("pyproject.toml has no project with a name: `uv init --bare` makes one")


def merge(project: Project) -> None:
    """Add to pyproject.toml what it lacks, and lock the result.

    Locked versions stay. If a tool in the fragment does not fit them, its requirement is changed.
    Versions that change anyway are printed before anything is written. If uv cannot lock the
    result, nothing is written.
    """
    old = Lock(project.lockfile.read_text() if project.lockfile.exists() else "")
    require_name(project)
    adapt_settings(project)
    changed = [*split_groups(project), *name_packages(project)]
    present = set(requirements(project.pyproject))
    for entry in required(project) + optional(project):
        entry.add()
    added = [entry for entry in requirements(project.pyproject) if entry not in present]
    tools = [entry for entry in added if entry[0] not in RUN_TIME]
    try:
        with restored(project.folder / "pyproject.toml", project.lockfile):
            new, yielding = resolve(project, old, tools)
    except LockError as error:
        refuse(project, str(error))
    replace_requirements(project, yielding)
    fit_settings(project, new)
    for change in changed:
        print(change)
    if yielding:
        print("Older than the template's tools, to fit the versions that you have:")
        print(*(f"    {group}: {tool}" for (group, _), tool in yielding.items()), sep="\n")
    if changes := list(moves(old, new, project.pyproject)):
        table = [("package", "old", "new", "why"), *changes]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        print("These locked versions change:")
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("   ", "  ".join(cells).rstrip())
    text = tomlkit.dumps(project.pyproject).rstrip() + "\n"
    # The fragment's tables and the one added after them each bring an empty line.
    text = text.replace("\n\n\n[build-system]", "\n\n[build-system]")
    (project.folder / "pyproject.toml").write_text(text)
    project.lockfile.write_text(new.text)


# Where tools look for settings before pyproject.toml, by the names of their tables in it.
OTHER_SETTINGS = {
    "pytest": r"pytest\.ini|\.pytest\.ini|\[pytest\]|\[tool:pytest\]",
    "mypy": r"mypy\.ini|\.mypy\.ini|\[mypy\]",
    "ruff": r"ruff\.toml|\.ruff\.toml",
    "coverage": r"\.coveragerc|\[coverage:run\]",
}


def adapt_settings(project: Project) -> None:
    """Adapt the fragment's tool settings to the project.

    A tool that already has its own settings file gets no settings that would hide it. Django's
    settings module is the one that manage.py names. Tests may be in src.
    """
    tools = project.fragment["tool"]
    paths = {name: project.folder / name for name in ("manage.py", "setup.cfg", "tox.ini")}
    texts = {name: path.read_text() for name, path in paths.items() if path.exists()}
    names = "\n".join([*(path.name for path in project.folder.iterdir()), *texts.values()])
    for name, pattern in OTHER_SETTINGS.items():
        if re.search(rf"^({pattern})$", names, re.MULTILINE):
            tools.pop(name, None)
    named = re.search(r"DJANGO_SETTINGS_MODULE\W+([\w.]+)", texts.get("manage.py", ""))
    for table, key in (
        ("pytest", "DJANGO_SETTINGS_MODULE"),
        ("django-stubs", "django_settings_module"),
    ):
        if named and key in tools.get(table, {}):
            tools[table][key] = named[1]
    source = project.folder / "src"
    patterns = ["test_*.py", "*_test.py", "tests.py"]
    inside = any(path for pattern in patterns for path in source.rglob(pattern))
    beside = (project.folder / "tests").is_dir()
    if inside and "pytest" in tools:
        tools["pytest"]["testpaths"] = [*(["tests"] if beside else []), "src"]
        tools["pytest"]["python_files"] = patterns
    if not beside and "files" in tools.get("mypy", {}):
        tools["mypy"]["files"] = ["src"]


def split_groups(project: Project) -> Iterator[str]:
    """Give the group test what tests need, because the test image has no other group for them.

    Yields a description of each change.
    """
    groups = project.pyproject.setdefault("dependency-groups", tomlkit.table())
    wanted = project.fragment["dependency-groups"].get("test", [])
    if "test" in groups or not wanted:
        return
    for other in ("tests", "testing"):
        if other in groups:
            groups["test"] = [{"include-group": other}]
            yield f"dependency-groups: test includes {other}, because the test image installs only test"
            return
    if {name_of(entry) for entry in groups.get("dev", [])} & {name_of(entry) for entry in wanted}:
        groups["test"] = groups.pop("dev")
        yield "dependency-groups: dev is now called test, which the test image installs; a new dev includes it"


def name_packages(project: Project) -> Iterator[str]:
    """Let `uv run` find the packages in src, whatever their names are.

    Yields a description of each change.
    """
    tools = project.pyproject.setdefault("tool", tomlkit.table(is_super_table=True))
    uv = tools.get("uv", {})
    packages = project.packages
    if not packages:
        return
    if uv.get("package") is False:
        del uv["package"]
        yield "tool.uv: removed package = false, because `uv run` finds only installed packages"
    system = project.pyproject.setdefault("build-system", project.fragment["build-system"].unwrap())
    if system.get("build-backend") != "uv_build":
        return
    settings = uv.get("build-backend", {})
    root = settings.get("module-root", "src")
    if root != "src" and not any((project.folder / root / name).is_dir() for name in packages):
        del settings["module-root"]
        yield "tool.uv.build-backend: removed module-root, because the packages are in src"
    own = canonical(project.pyproject["project"]["name"]).replace("-", "_")
    if packages != [own] and "module-name" not in settings:
        names = packages if len(packages) > 1 else packages[0]
        uv = tools.setdefault("uv", tomlkit.table())
        if "build-backend" in uv:
            settings["module-name"] = names
        else:
            uv["build-backend"] = {"module-name": names}
            uv["build-backend"].add(tomlkit.nl())
        yield f"tool.uv.build-backend: module-name lists the packages in src: {', '.join(packages)}"


class LockError(Exception):
    """uv found no matching versions; the message says why."""


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Let uv change these files, then restore them. Paths in them start from their folder."""
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)


class Lock:
    """The contents of a uv.lock, whose text may be empty."""

    def __init__(self, text: str) -> None:
        """Read the packages."""
        self.text = text
        self.packages: dict[str, list[dict[str, Any]]] = {}
        for package in tomllib.loads(text).get("package", []):
            self.packages.setdefault(package["name"], []).append(package)

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a package, oldest first: a lock may have one for each platform."""
        return sorted(Version(p["version"]) for p in self.packages.get(name, []) if "version" in p)

    def shown(self, name: str) -> str:
        """Return the versions of a package for human readers, or "" if it has none."""
        return ", ".join(map(str, self.versions(name)))

    def satisfies(self, requirement: Requirement) -> bool:
        """Tell whether all versions of a package satisfy a requirement."""
        versions = self.versions(canonical(requirement.name))
        return all(requirement.specifier.contains(v, prereleases=True) for v in versions)

    def pins(self, names: Iterable[str]) -> list[str]:
        """Return requirements on exactly the locked versions, for packages that have one."""
        found = [(name, self.packages.get(name, [])) for name in names]
        single = [(name, packages[0]) for name, packages in found if len(packages) == 1]
        return [f"{n}=={p['version']}" for n, p in single if "registry" in p["source"]]

    def production(self) -> set[str]:
        """Return the names of the packages that the production image gets."""
        own = [p for ps in self.packages.values() for p in ps if "." in p["source"].values()]
        todo = [e for p in own for e in p.get("dependencies", [])]
        groups = [p.get("dev-dependencies", {}) for p in own]
        todo += [e for group in groups for name in RUN_TIME for e in group.get(name, [])]
        seen = set()
        while todo:
            entry = todo.pop()
            for extra in (None, *entry.get("extra", [])):
                if (entry["name"], extra) in seen:
                    continue
                seen.add((entry["name"], extra))
                for package in self.packages.get(entry["name"], []):
                    optional = package.get("optional-dependencies", {})
                    todo += optional.get(extra, []) if extra else package.get("dependencies", [])
        return {name for name, _ in seen}


Requirements = dict[tuple[str, str], str]


def resolve(project: Project, old: Lock, tools: list[tuple[str, str]]) -> tuple[Lock, Requirements]:
    """Return a lock for the merged project, and the tools' requirements that have to change.

    Production packages are locked first. Then come the tools, at the fragment's versions or, where
    those do not fit, at older ones. Raises LockError.
    """
    new = lock(project, old.text, dict.fromkeys(tools))
    every, run_time = new.pins(old.packages), new.pins(old.packages.keys() & new.production())
    yielding: Requirements = {}
    if tools:
        loose = {entry: loosened(entry[1]) for entry in tools}
        for changes, pins in [({}, every), (loose, every), (loose, run_time)]:
            try:
                found = lock(project, new.text, changes, pins)
                break
            except LockError as error:
                clash = error
        else:
            raise clash
        for entry in tools:
            wanted = Requirement(entry[1])
            if not found.satisfies(wanted):
                yielding[entry] = fitted(wanted, found.versions(canonical(wanted.name))[0])
        new = found
    # Lock once more without the pins, because a lock records them.
    return lock(project, new.text, yielding), yielding


def lock(
    project: Project,
    start: str,
    changes: Mapping[tuple[str, str], str | None],
    pins: Iterable[str] = (),
) -> Lock:
    """Return uv's lock for the project with changed tools, starting from the text of a lock.

    A tool that changes to None is left out. Writes both files. Raises LockError.
    """
    trial = tomllib.loads(tomlkit.dumps(project.pyproject))
    for group in trial["dependency-groups"]:
        entries = trial["dependency-groups"][group]
        entries = [changes.get((group, str(entry)), entry) for entry in entries]
        trial["dependency-groups"][group] = [entry for entry in entries if entry is not None]
    trial["tool"]["uv"].setdefault("constraint-dependencies", []).extend(pins)
    (project.folder / "pyproject.toml").write_text(tomlkit.dumps(trial))
    project.lockfile.write_text(start) if start else project.lockfile.unlink(missing_ok=True)
    locked = project.uv("lock")
    if locked.returncode != 0:
        raise LockError(reason(locked.stderr))
    return Lock(project.lockfile.read_text())


def loosened(requirement: str) -> str:
    """Return a requirement that also accepts older versions, but no newer ones."""
    parsed = Requirement(requirement)
    limits = []
    for part in parsed.specifier:
        release = Version(part.version).release
        if part.operator == "~=":
            limits.append(f"<{'.'.join(map(str, (*release[:-2], release[-2] + 1)))}")
        elif part.operator == "<":
            limits.append(str(part))
    parsed.specifier = SpecifierSet(",".join(limits))
    return str(parsed)


def fitted(requirement: Requirement, version: Version) -> str:
    """Return a requirement for a version and compatible ones, as exact as the old requirement."""
    (size, *_) = (len(Version(part.version).release) for part in requirement.specifier)
    release = ".".join(map(str, (*version.release, 0, 0)[: max(size, 2)]))
    older = Requirement(str(requirement))
    older.specifier = SpecifierSet(f"~={release}")
    return str(older)


def replace_requirements(project: Project, changes: Requirements) -> None:
    """Replace some requirements with others, and keep the layout of the lists."""
    for (group, requirement), other in changes.items():
        entries = project.pyproject["dependency-groups"][group]
        entries[[str(entry) for entry in entries].index(requirement)] = other


def fit_settings(project: Project, locked: Lock) -> None:
    """Adapt the tool settings that came from the fragment to the locked versions."""
    tools, added = project.pyproject["tool"], project.fragment["tool"]
    pytest, mypy = added.get("pytest"), added.get("mypy", {})
    if pytest and tools["pytest"] is pytest and locked.versions("pytest")[0] < Version("9"):
        # Before version 9, pytest reads another table.
        older = {name: pytest[name] for name in pytest if name != "minversion"}
        tools["pytest"] = {"ini_options": older}
    if mypy.get("plugins") == ["pydantic.mypy"] and "pydantic" not in locked.packages:
        del mypy["plugins"]


def moves(old: Lock, new: Lock, pyproject: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name, the old and the new version, and why, of each package that changes."""
    changed = {name for name in new.packages if old.versions(name) != new.versions(name)}
    production = old.production()
    for name in sorted(old.packages):
        before, after = old.shown(name), new.shown(name)
        if before == after or not (after or name in production):
            continue
        direct = [
            f"{requirement} in {place}"
            for place, requirement in requirements(pyproject)
            if canonical(Requirement(requirement).name) == name
            and not old.satisfies(Requirement(requirement))
        ]
        files = [file for package in old.packages[name] for file in package.get("wheels", [])]
        week = (datetime.now(UTC) - timedelta(days=7)).isoformat()
        young = any(file.get("upload-time", "") > week for file in files)
        parents = [
            f"{parent} {new.versions(parent)[0]}"
            for parent in sorted(changed)
            for package in new.packages[parent]
            if name in [entry["name"] for entry in package.get("dependencies", [])]
        ]
        why = [*direct, *(["younger than exclude-newer"] if young else []), *parents]
        yield name, before, after or "none", why[0] if why else "uv.lock was out of date"


def refuse(project: Project, why: str) -> NoReturn:
    """Exit with one line that says why nothing was added."""
    unchanged = project.uv("lock", "--dry-run")
    if unchanged.returncode != 0:
        why = reason(unchanged.stderr)
        sys.exit(f"Nothing was added: uv cannot lock pyproject.toml as it is: {why}")
    remedy = f"change one of them, in pyproject.toml or {FRAGMENT}, and run this again"
    names = {name_of(entry) for entry in project.pyproject["project"].get("dependencies", [])}
    for name in names & {name_of(entry) for entry in project.fragment["dependency-groups"]["prod"]}:
        if f" depends on {name}" in why:
            remedy = f"the group prod brings it, so `uv remove --no-sync {name}` and run this again"
    remedy = f": {remedy}" if " depends on " in why else ""
    sys.exit(f"Nothing was added: uv cannot lock the result: {why}{remedy}")


# doctor gets its answers from the tools: uv, git, docker, pytest, and the project's own code, which
# runs in a folder with the same content as the image.

# How to change an answer to the template's questions.
RECOPY = "`uvx copier recopy --force -d {}`"
# The settings that a Django project gets during the image build. It gets no others.
BUILD_SETTINGS = {
    "ALLOWED_HOSTS": "localhost",
    "DATABASE_URL": "sqlite://",
    "SECRET_KEY": "only-for-the-build",
}
# The variables that say how programs run on this machine, and nothing about the project.
MACHINE = r"PATH|HOME|LANG|TMPDIR|TE?MP|SYSTEMROOT|USERPROFILE|\w*APPDATA|(UV|XDG)_\w+"
# Packages that run in their own process, and a word from the command that starts it.
WORKERS = {name: name for name in ("arq", "celery", "dramatiq", "huey", "rq", "taskiq")}
WORKERS |= {"django-q2": "qcluster", "django-rq": "rqworker"}
OVERRIDES = [f"{n}.override.{s}" for n in ("compose", "docker-compose") for s in ("yml", "yaml")]


def check_pyproject(project: Project) -> Iterator[Finding]:
    """Find the groups and settings that the Dockerfile and CI work with."""
    for missing in required(project):
        problem = f"pyproject.toml: no {missing.name} in {missing.path}"
        yield Finding(problem, f"`uv run {SCRIPT.name} merge` adds it")


def check_files(project: Project) -> Iterator[Finding]:
    """Find what a build needs and does not have, and old files that get in its way."""
    framework, package = project.answers["framework"], project.answers["package_name"]
    alembic = "`uv add alembic` and `uv run alembic init migrations`, or, without migrations, "
    remedies = {
        "uv.lock": "run `uv lock`",
        "manage.py": "move it beside pyproject.toml",
        "alembic.ini": alembic + RECOPY.format("database=none"),
        "migrations": alembic + RECOPY.format("database=none"),
        "src": "move your package there",
        "tests": "move your tests there",
    }
    for name in admitted(project):
        if not (project.folder / name).exists():
            remedy = remedies.get(name, "`uvx copier recopy --force` writes it")
            yield Finding(f"{name} is missing", remedy)
    module = {"django": "wsgi", "fastapi": "main", "job": "__main__"}[framework]
    if not (project.folder / f"src/{package}/{module}.py").exists():
        remedy = "move your package there, or name the one that the image starts: "
        remedy += RECOPY.format("package_name=NAME")
        yield Finding(f"src/{package}/{module}.py is missing", remedy)
    compose = "move what you still need of it to compose.override.yaml, and delete it"
    old = dict.fromkeys(("compose.yml", "docker-compose.yml", "docker-compose.yaml"), compose) | {
        "Dockerfile.dockerignore": "delete it: it takes the place of .dockerignore",
        "conftest.py": "move it into tests, which the test image has",
    }
    for name, remedy in old.items():
        if (project.folder / name).exists():
            yield Finding(f"{name} is in the way", remedy)
    for path in map(project.folder.joinpath, ("pytest.ini", ".pytest.ini", "setup.cfg", "tox.ini")):
        if path.exists() and re.search(r"^\[(tool:)?pytest\]", path.read_text(), re.MULTILINE):
            remedy = "move them to [tool.pytest] in pyproject.toml, which the test image gets"
            yield Finding(f"{path.name} has pytest's settings", remedy)


def check_lock(project: Project) -> Iterator[Finding]:
    """Find what keeps uv from installing the locked packages in the image."""
    if not (project.folder / "uv.lock").exists():
        return
    checked = project.uv("lock", "--check")
    if checked.returncode != 0:
        yield explained(project, "uv.lock", reason(checked.stderr), "run `uv lock`")
    private_git = project.answers["private_dependencies"] in ("git-https", "git-ssh")
    for package in tomllib.loads(project.read("uv.lock")).get("package", []):
        name, source = package["name"], package["source"]
        if source.get("directory", source.get("editable", ".")) != ".":
            problem = f"uv.lock: {name} is a folder outside of src"
            yield Finding(problem, "move it into src, or depend on a release of it")
        if "git" in source and not private_git:
            problem = f"uv.lock: {name} is from git, and the image takes only what has a hash"
            yield Finding(problem, "depend on an archive of it, or answer private_dependencies")


def check_versions(project: Project) -> Iterator[Finding]:
    """Find production versions that differ from those in the last commit."""
    image = project.answers["python_version"]
    before = committed(project, ".python-version")
    before = before or str(project.pyproject["project"].get("requires-python", ""))
    minors = [int(minor) for minor in re.findall(r"3\.(\d+)", before)]
    if minors and (version := f"3.{min(minors)}") != image:
        problem = f"the image has Python {image}, and the project has {version}"
        remedy = RECOPY.format(f"python_version={version}")
        yield Finding(problem, f"{remedy}, or commit .python-version if {image} is meant")
    old = Lock(committed(project, "uv.lock"))
    new = Lock(project.lockfile.read_text() if project.lockfile.exists() else "")
    moved = []
    for name in sorted(new.production()):
        before, after = old.shown(name), new.shown(name)
        if before and before != after:
            moved.append(f"{name} {before} -> {after}")
    if moved:
        problem = f"uv.lock has other versions than the last commit, {', '.join(moved)}"
        remedy = "`git checkout HEAD uv.lock` and `uv lock` keep those that pyproject.toml allows"
        yield Finding(problem, f"{remedy}; commit uv.lock if the others are meant")


def check_host(project: Project) -> Iterator[Finding]:
    """Find what keeps `uv run` from working on this machine."""
    package = project.answers["package_name"]
    synced = project.uv("sync", "--locked")
    if synced.returncode != 0:
        yield explained(project, "uv sync", reason(synced.stderr))
        return
    python = ("run", "--no-sync", "python", "-c")
    found = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({package!r}))"
    if project.uv(*python, found).returncode != 0:
        remedy = "delete `package = false`, and add the [build-system] of uv_build"
        yield Finding(f"uv run does not find {package}", remedy)


class Image:
    """The image's files and packages, put together without a container engine."""

    def __init__(self, project: Project, folder: Path) -> None:
        """Start with the files of the production image, and with nothing installed."""
        self.project = project
        self.folder = folder / "app"
        self.folder.mkdir()
        self.variables = {"UV_PROJECT_ENVIRONMENT": str(folder / "venv"), "PYTHONPATH": "src"}
        self.copy({*admitted(project)} - {"pyproject.toml", "uv.lock", "known_hosts", "tests"})

    def copy(self, names: Iterable[str]) -> None:
        """Add files and folders of the project."""
        for name in names:
            source = self.project.folder / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name, symlinks=True)
            else:
                shutil.copy(source, self.folder)

    def install(self, *options: str) -> list[Finding]:
        """Install the image's locked packages, and return why that fails, if it does."""
        sync = ("uv", "sync", "--locked", "--no-install-project", *groups(self.project), *options)
        done = self.project.run(*sync, variables=self.variables)
        found = explained(self.project, "uv sync", reason(done.stderr))
        return [found] if done.returncode else []

    def run(self, *command: str, variables: Mapping[str, str]) -> Finished:
        """Run a command from the packages, with these settings and none from this machine."""
        run = ("uv", "run", "--no-sync", f"--project={self.project.folder}", *command)
        settings = self.variables | dict(variables)
        return self.project.run(*run, folder=self.folder, variables=settings, kept=MACHINE)


def check_image(project: Project) -> Iterator[Finding]:
    """Find what the project's code lacks when it has only the image's files and packages."""
    with TemporaryDirectory() as folder:
        image = Image(project, Path(folder).resolve())
        findings = image.install() or [*compiled(image), *ask_application(image)]
        if not findings and "test" in project.answers["dependency_groups"]:
            findings = image.install("--group=test") or list(ask_tests(image))
    yield from findings


def compiled(image: Image) -> Iterator[Finding]:
    """Find packages that this machine compiled: only such wheels have a tag for any Linux."""
    for file in Path(image.variables["UV_PROJECT_ENVIRONMENT"]).rglob("*.dist-info/WHEEL"):
        local = re.search(r"^Tag: .*-linux_\w+$", file.read_text(), re.MULTILINE)
        if local and not image.project.answers["build_packages"]:
            problem = f"{file.parent.name.partition('-')[0]} has no wheel and must be compiled"
            yield Finding(problem, RECOPY.format("build_packages=build-essential"))


def check_tests(project: Project) -> Iterator[Finding]:
    """Find what keeps `uv run pytest` from starting on this machine."""
    if "test" in project.answers["dependency_groups"]:
        planned = project.uv("run", "--no-sync", *PYTEST)
        yield from (explained(project, "uv run pytest", why) for why in unplanned(planned))


def ask_application(image: Image) -> Iterator[Finding]:
    """Find what keeps the application from starting, and from answering its health check."""
    project = image.project
    package, framework = project.answers["package_name"], project.answers["framework"]
    if framework == "django":
        variables = BUILD_SETTINGS | {"PROJECT": str(project.folder)}
        default = f"the build sets {', '.join(BUILD_SETTINGS)}: give other settings a default"
    else:
        service = services(project).get("job" if framework == "job" else "web", {})
        given = {n: v for n, v in (service.get("environment") or {}).items() if v is not None}
        variables = {"DATABASE_URL": "postgresql://app:app@database:5432/app"} | given
        default = "give it a default, or a value in compose.override.yaml"
    for question in QUESTIONS[framework]:
        code = f"{PRELUDE}{getsource(question)}\n{question.__name__}({package!r})"
        # The build runs manage.py, which may name a different settings module than wsgi.py.
        by = ("manage.py", "shell") if question is collect_static_files else ()
        asked = image.run("python", *by, "-c", code, variables=variables)
        told = [line.split("\t") for line in asked.stdout.splitlines() if line.count("\t") == 1]
        yield from (Finding(*line) for line in told)
        if asked.returncode != 0:
            problem = last_error(asked).replace(f"{image.folder}/", "")
            # If a database does not respond right now, the image is not at fault.
            if "OperationalError" not in problem:
                yield explained(project, by[0] if by else f"src/{package}", problem, default)
            return


# Checks of the project's code from inside: the project's Python runs these functions. They print
# each problem and its remedy, separated by a tab.
PRELUDE = """import ast, asyncio, os
from contextlib import suppress
from importlib import import_module
from pathlib import Path

"""


def collect_static_files(package: str) -> None:
    """Collect Django's static files as the image's build does."""
    settings = import_module("django.conf").settings
    if str(settings.DATABASES.get("default", {}).get("NAME", ":memory:")) != ":memory:":
        print(f"{package}: the settings ignore DATABASE_URL\t`uv add dj-database-url` can read it")
    if not import_module("django.apps").apps.is_installed("django.contrib.staticfiles"):
        print(f"{package}: no collectstatic\tadd django.contrib.staticfiles to INSTALLED_APPS")
        return
    storage = import_module("django.contrib.staticfiles.storage").staticfiles_storage
    if str(getattr(storage, "location", None)) != str(Path("staticfiles").absolute()):
        remedy = 'set STATIC_ROOT to the folder "staticfiles" beside src'
        print(f"{package}: the image does not find the static files\t{remedy}")
    else:
        call_command = import_module("django.core.management").call_command
        call_command("collectstatic", interactive=False, verbosity=0)


def ask_django(package: str) -> None:
    """Check the application that gunicorn loads, with the help of Django's own checks."""
    application = import_module(f"{package}.wsgi").application
    settings = import_module("django.conf").settings
    test = import_module("django.test")

    def status(path: str) -> int:
        request = test.RequestFactory(SERVER_NAME="127.0.0.1", SERVER_PORT="8000").get(path)
        started: list[str] = []
        application(request.environ, lambda line, *rest: started.append(line))
        return int(started[0].split()[0])

    checks = import_module("django.core.checks")
    for error in checks.run_checks():
        if error.level >= checks.ERROR:
            hint = error.hint or "correct it; `uv run manage.py check` says where"
            print(" ".join(f"{error.id} {error.msg}".split()), " ".join(hint.split()), sep="\t")
    if (found := status("/livez")) != 200:
        remedy = "answer it with 200, for any host, in a middleware before all others"
        print(f"GET /livez is answered with {found}\t{remedy}")
    engines = import_module("django.template").engines.all()
    folders = [folder for engine in engines for folder in engine.dirs]
    for name in [*folders, *settings.STATICFILES_DIRS, *settings.LOCALE_PATHS]:
        here = os.path.relpath(name[1] if isinstance(name, tuple) else name)
        if not Path(here).exists() and Path(os.environ["PROJECT"], here).exists():
            print(f"{package}: the settings name {here}, which the image lacks\tmove it into src")
    if not Path("staticfiles").exists():
        return
    storage = import_module("django.contrib.staticfiles.storage").staticfiles_storage
    finders = import_module("django.contrib.staticfiles.finders").get_finders()
    for name, found_in in (file for finder in finders for file in finder.list([])):
        url = storage.url(os.path.join(getattr(found_in, "prefix", None) or "", name))
        if url.startswith("/") and status(url) != 200:
            remedy = "`uv add whitenoise`, and add its middleware after SecurityMiddleware"
            print(f"{package}: nothing serves the static files\t{remedy}")
        return


def ask_fastapi(package: str) -> None:
    """Check the application that uvicorn loads. It may fail because it was not started."""
    app = import_module(f"{package}.main").app
    sent: list[int] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def send(message: dict[str, int]) -> None:
        sent.append(message.get("status", 0))

    scope = {"type": "http", "method": "GET", "path": "/livez", "query_string": b""}
    scope["headers"] = [(b"host", b"127.0.0.1:8000")]
    with suppress(Exception):
        asyncio.run(app(scope, receive, send))
    if sent and sent[0] != 200 and sent[0] < 500:
        print(f"GET /livez is answered with {sent[0]}\tanswer it with 200, for any host")


def ask_job(package: str) -> None:
    """Import what the module that starts the job imports. The job must not start."""
    name = f"{package}.__main__"
    tree = ast.parse(Path("src", package, "__main__.py").read_text())
    tree.body = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    exec(compile(tree, name, "exec"), {"__name__": name, "__package__": package})  # noqa: S102


QUESTIONS: dict[str, list[Callable[[str], None]]] = {
    "django": [collect_static_files, ask_django],
    "fastapi": [ask_fastapi],
    "job": [ask_job],
}


# pytest finds what is wrong with each test, without running any test or fixture.
PYTEST = ("pytest", "--setup-plan", "--quiet", "--no-cov", "-p", "no:cacheprovider")


def ask_tests(image: Image) -> Iterator[Finding]:
    """Find what the tests lack when they have only the test image's files and packages."""
    image.copy(["pyproject.toml", "tests"])
    planned = image.run(*PYTEST, variables={})
    problems = unplanned(planned)
    for problem in problems:
        yield explained(image.project, "pytest in the image", problem, group=" --group test")
    collected = re.findall(r"^ +(\S+\.py)::", planned.stdout, re.MULTILINE)
    # With some plugins, pytest does not list what it collects.
    for name in files_of_tests(image.project) if collected and not problems else []:
        if name not in collected:
            remedy = "move it into tests, under a name that begins with test_"
            yield Finding(f"the test image does not collect {name}", remedy)


def files_of_tests(project: Project) -> Iterator[str]:
    """Yield the files that are named like tests and contain some."""
    patterns = (":(glob)**/test*.py", ":(glob)**/*_test.py")
    listed = project.run("git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns)
    for name in listed.stdout.splitlines():
        file = project.folder / name
        if file.exists() and re.search(r"^\s*(async )?def test", file.read_text(), re.MULTILINE):
            yield name


def unplanned(planned: Finished) -> list[str]:
    """Return why pytest cannot start the tests, each reason once."""
    if planned.returncode in (0, 5):
        return ["there is no test"] if planned.returncode else []
    said = planned.stdout + planned.stderr
    errors = re.findall(r"^(?:E  +|pytest: error: |ERROR: (?!usage))(.*)", said, re.MULTILINE)
    known = re.compile(r"[\w.]+(Error|Exception|Configured|Warning)\b|fixture")
    last = said.splitlines()[-1:]
    return list(dict.fromkeys(filter(known.match, errors))) or [*errors, *last][:1]


@cache
def compose(project: Project) -> Finished:
    """Return the configuration that compose reads from its files. This needs no engine."""
    return project.run("docker", "compose", "--profile=*", "config", "--format=json")


def services(project: Project) -> dict[str, dict[str, Any]]:
    """Return the services that compose would start, or none if compose cannot tell."""
    found: dict[str, dict[str, Any]] = json.loads(compose(project).stdout or '{"services": {}}')
    return found["services"]


def check_containers(project: Project) -> Iterator[Finding]:
    """Find problems in the configuration that compose and bake read from their files."""
    if not has_docker(project):
        return
    override = next((n for n in OVERRIDES if (project.folder / n).exists()), "compose.yaml")
    baked = project.run("docker", "buildx", "bake", "--print")
    for command, asked in [("compose config", compose(project)), ("buildx bake", baked)]:
        if asked.returncode != 0:
            why = asked.stderr.strip().splitlines()[-1].removeprefix("ERROR: ")
            why = why.partition(": stat ")[0].replace(f"{project.folder}/", "")
            yield explained(project, f"docker {command}", why, f"correct {override}")
            return
    ports: Counter[str] = Counter()
    for name, service in services(project).items():
        if not service.get("profiles"):
            ports.update(p["published"] for p in service.get("ports", []) if p.get("published"))
        file = service.get("build", {}).get("dockerfile", "Dockerfile")
        if name in ("web", "job", "migrate") and file != "Dockerfile":
            problem = f"docker compose builds {name} from {file}"
            yield Finding(problem, f"delete `build` from {override}")
    for port in (port for port, count in ports.items() if count > 1):
        problem = f"docker compose publishes port {port} twice"
        yield Finding(problem, f"delete `ports` from {override}, or publish another")
    yield from missing_services(project)
    tag, *_ = json.loads(baked.stdout)["target"]["production"]["tags"]
    image = tag.partition(":")[0]
    name = re.sub(r"[^a-z0-9]+", "-", project.pyproject["project"]["name"].lower())
    if image not in (name, f"{name}-app"):
        problem = f"the image is named {image}, and the project {name}"
        yield Finding(problem, RECOPY.format(f"project_name={name}"))


def missing_services(project: Project) -> Iterator[Finding]:
    """Find processes and databases that the code needs but compose does not start."""
    used = {name_of(entry) for entry in project.pyproject["project"].get("dependencies", [])}
    there = services(project).values()
    commands = " ".join(f"{s.get('command')} {s.get('entrypoint')}" for s in there)
    for worker in sorted(used & {*WORKERS}):
        if WORKERS[worker] not in commands:
            remedy = "add a service with its command to compose.override.yaml"
            yield Finding(f"{worker} needs a second process, and nothing starts it", remedy)
    urls = [str((s.get("environment") or {}).get("DATABASE_URL")) for s in there]
    images = [s.get("image", "") for s in there]
    found = [text for text in urls + images if "postg" in text]
    if used & {"asyncpg", "psycopg", "psycopg2", "psycopg2-binary"} and not found:
        remedy = f"{RECOPY.format('database=postgres')}, or add yours to compose.override.yaml"
        yield Finding("the project is for PostgreSQL, and compose.yaml has none", remedy)


@cache
def has_docker(project: Project) -> bool:
    """Return whether compose and bake are installed."""
    tools = ("compose", "buildx")
    return all(project.run("docker", tool, "version").returncode == 0 for tool in tools)


def admitted(project: Project) -> list[str]:
    """Return the names of the files and folders that a build gets."""
    return re.findall(r"^!(.*)", project.read(".dockerignore"), re.MULTILINE)


def groups(project: Project) -> list[str]:
    """Return uv's options for what the production image installs."""
    found = re.search(r'^ARG BUILD_GROUPS="(.*)"', project.read("Dockerfile"), re.MULTILINE)
    return ["--no-default-groups", *(found[1] if found else "--group prod").split()]


def committed(project: Project, name: str) -> str:
    """Return the text that a file has in the last commit, or nothing."""
    shown = project.run("git", "show", f"HEAD:./{name}")
    return shown.stdout if shown.returncode == 0 else ""


def last_error(ended: Finished) -> str:
    """Return why a Python program ended, in one line."""
    if "Traceback" in ended.stderr:
        error = re.split(r'^  File ".*\n(?:    .*\n)*', ended.stderr, flags=re.MULTILINE)[-1]
    else:
        error = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:][0]
    return " ".join(error.split())[:300]


def explained(
    project: Project,
    where: str,
    problem: str,
    otherwise: str = "run it, and correct what it says",
    group: str = "",
) -> Finding:
    """Return a finding for an error, with the remedy for its words, or else `otherwise`."""
    module_name = f"set module-name = {json.dumps(project.packages)}"
    again = RECOPY.format("python_version=VERSION")
    remedies = {
        " depends on ": "change one of these requirements in pyproject.toml, and run `uv lock`",
        "Expected a Python module": f"{module_name} in [tool.uv.build-backend]",
        "No interpreter found": "run `uv python install`",
        "Python requirement": f"change requires-python, or {again}",
        "ssh agent": "run `eval $(ssh-agent) && ssh-add`",
        "No module named": f"`uv add{group} NAME` adds its package; code of your own goes into src",
        "No package metadata": "do without: the image has the code, and not the package's metadata",
        "fixture '": "`uv add --group test NAME` adds the plugin that has it",
        "No such file": "move it into src: the image has no other folder",
        "no attribute 'app": "give your application the name that the image starts",
        "no test": "move your tests to tests, under names that begin with test_",
    }
    remedy = next((text for words, text in remedies.items() if words in problem), otherwise)
    return Finding(f"{where}: {problem}", remedy)


# Later checks work only if the earlier ones found nothing.
CHECKS: list[list[Callable[[Project], Iterator[Finding]]]] = [
    [check_pyproject, check_files, check_lock, check_versions],
    [check_containers, check_host, check_image],
    [check_tests],
]


def doctor(project: Project) -> None:
    """Print what the project lacks, one finding a line. Exits with 1 if there is any."""
    require_name(project)
    for checks in CHECKS:
        findings = dict.fromkeys(finding for check in checks for finding in check(project))
        if findings:
            print(*findings, sep="\n")
            sys.exit(1)
    if not has_docker(project):
        print("Not checked, as docker is not here: what compose and bake make of their files.")
    print(f"Nothing is missing. {SCRIPT.name} and {FRAGMENT} can be deleted.")


def main() -> None:
    """Run the requested command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"merge": merge, "doctor": doctor}
    parser.add_argument("command", choices=commands)
    commands[parser.parse_args().command](Project(SCRIPT.parent))


if __name__ == "__main__":
    main()
