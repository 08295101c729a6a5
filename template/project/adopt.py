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
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
        self.lockfile = folder / "uv.lock"

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


def requirements(pyproject: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each requirement of the project and of its groups, behind where it stands."""
    for requirement in pyproject["project"].get("dependencies", []):
        yield "dependencies", str(requirement)
    for group, entries in pyproject.get("dependency-groups", {}).items():
        yield from ((group, str(entry)) for entry in entries if isinstance(entry, str))


def merge(project: Project) -> None:
    """Add to pyproject.toml what it lacks, and lock the result.

    Locked versions stay: a tool of the fragment that does not fit them yields. Versions that change
    nevertheless are printed before anything is written. Where uv cannot lock the result, nothing is.
    """
    old = Lock(project.lockfile.read_text() if project.lockfile.exists() else "")
    if "name" not in project.pyproject.get("project", {}):
        sys.exit("pyproject.toml has no project with a name: `uv init --bare` makes one")
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
    adjust_pytest(project, new)
    for change in changed:
        print(change)
    if yielding:
        print("Older than the template's tools, to fit the versions that you have:")
        print(*(f"    {group}: {tool}" for (group, _), tool in yielding.items()), sep="\n")
    if table := list(moves(old, new, project.pyproject)):
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        print("These locked versions change:")
        for row in [("package", "old", "new", "why"), *table]:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("   ", "  ".join(cells).rstrip())
    text = tomlkit.dumps(project.pyproject).rstrip() + "\n"
    (project.folder / "pyproject.toml").write_text(text)
    project.lockfile.write_text(new.text)


# Where tools find settings before they look into pyproject.toml, by their tables there.
OTHER_SETTINGS = {
    "pytest": r"pytest\.ini|\.pytest\.ini|\[pytest\]|\[tool:pytest\]",
    "mypy": r"mypy\.ini|\.mypy\.ini|\[mypy\]",
    "ruff": r"ruff\.toml|\.ruff\.toml",
    "coverage": r"\.coveragerc|\[coverage:run\]",
}


def adapt_settings(project: Project) -> None:
    """Adapt the fragment's settings of tools to the project.

    A tool that has settings in a file of its own gets none that would hide them. Django's settings
    are those that manage.py names. Tests may stand in src.
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
    """Let the group test have what tests need, as it is all that the test image has.

    Yields what changes, for people.
    """
    groups = project.pyproject.setdefault("dependency-groups", tomlkit.table())
    wanted = project.fragment["dependency-groups"].get("test", [])
    if "test" in groups or not wanted:
        return
    for other in ("tests", "testing"):
        if other in groups:
            groups["test"] = [{"include-group": other}]
            yield f"dependency-groups: test includes {other}, as the test image has test alone"
            return
    if {name_of(entry) for entry in groups.get("dev", [])} & {name_of(entry) for entry in wanted}:
        groups["test"] = groups.pop("dev")
        yield "dependency-groups: dev is test now, as the test image has test alone; dev includes it"


def name_packages(project: Project) -> Iterator[str]:
    """Let `uv run` find the packages in src, whatever their names are.

    Yields what changes, for people.
    """
    tools = project.pyproject.setdefault("tool", tomlkit.table(is_super_table=True))
    uv = tools.get("uv", {})
    packages = sorted(path.parent.name for path in project.folder.glob("src/*/__init__.py"))
    if not packages:
        return
    if uv.get("package") is False:
        del uv["package"]
        yield "tool.uv: package = false is gone, as `uv run` finds only packages that are installed"
    system = project.pyproject.setdefault("build-system", project.fragment["build-system"])
    if system.get("build-backend") != "uv_build":
        return
    settings = uv.get("build-backend", {})
    root = settings.get("module-root", "src")
    if root != "src" and not any((project.folder / root / name).is_dir() for name in packages):
        del settings["module-root"]
        yield "tool.uv.build-backend: module-root is gone, as the packages are in src"
    own = project.pyproject["project"]["name"].lower().replace("-", "_").replace(".", "_")
    if packages != [own] and "module-name" not in settings:
        names = packages if len(packages) > 1 else packages[0]
        uv = tools.setdefault("uv", tomlkit.table())
        uv.setdefault("build-backend", tomlkit.table())["module-name"] = names
        yield f"tool.uv.build-backend: module-name says what is in src: {', '.join(packages)}"


class LockError(Exception):
    """uv finds no versions; the text says why."""


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Let uv work on files, and put back what they were. Paths in them start from their folder."""
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
    """What stands in a uv.lock, whose text may be empty."""

    def __init__(self, text: str) -> None:
        """Read the packages."""
        self.text = text
        self.packages: dict[str, list[dict[str, Any]]] = {}
        for package in tomllib.loads(text).get("package", []):
            self.packages.setdefault(package["name"], []).append(package)

    def version(self, name: str) -> str:
        """Return the version of a package, or all that the lock has for different platforms."""
        return ", ".join(sorted(p.get("version", "") for p in self.packages.get(name, [])))

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
    """Return a lock for the merged project, and the tools' requirements that have to yield.

    First comes what runs in production, then the tools, as they are in the fragment or, where they
    do not fit, older. Raises LockError.
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
            if not wanted.specifier.contains(version := found.version(canonical(wanted.name))):
                yielding[entry] = fitted(wanted, version)
        new = found
    # Once more without the pins, which a lock records.
    return lock(project, new.text, yielding), yielding


def lock(
    project: Project,
    start: str,
    changes: Mapping[tuple[str, str], str | None],
    pins: Iterable[str] = (),
) -> Lock:
    """Return what uv locks, beginning with the text of a lock, for the project with other tools.

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
    """Return a requirement that takes older versions as well, but none that are newer."""
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


def fitted(requirement: Requirement, version: str) -> str:
    """Return a requirement on a version and compatible ones, as exact as it was."""
    (size, *_) = (len(Version(part.version).release) for part in requirement.specifier)
    release = ".".join(map(str, (*Version(version).release, 0, 0)[: max(size, 2)]))
    older = Requirement(str(requirement))
    older.specifier = SpecifierSet(f"~={release}")
    return str(older)


def replace_requirements(project: Project, changes: Requirements) -> None:
    """Put other requirements in the place of some, and keep the layout of the lists."""
    for (group, requirement), other in changes.items():
        entries = project.pyproject["dependency-groups"][group]
        entries[[str(entry) for entry in entries].index(requirement)] = other


def adjust_pytest(project: Project, locked: Lock) -> None:
    """Put the fragment's settings of pytest where a version older than 9 reads them."""
    version, tools = locked.version("pytest"), project.pyproject["tool"]
    settings = project.fragment["tool"].get("pytest")
    if settings and tools.get("pytest") is settings and Version(version) < Version("9"):
        older = {name: settings[name] for name in settings if name != "minversion"}
        tools["pytest"] = {"ini_options": older}


def moves(old: Lock, new: Lock, pyproject: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name, the old and the new version, and why, of each package that changes."""
    changed = {name for name in new.packages if old.version(name) != new.version(name)}
    production = old.production()
    for name in sorted(old.packages):
        before, after = old.version(name), new.version(name)
        if before == after or not (after or name in production):
            continue
        direct = [
            f"{requirement} in {place}"
            for place, requirement in requirements(pyproject)
            if canonical(Requirement(requirement).name) == name
            and not Requirement(requirement).specifier.contains(before)
        ]
        files = [file for package in old.packages[name] for file in package.get("wheels", [])]
        week = (datetime.now(UTC) - timedelta(days=7)).isoformat()
        young = any(file.get("upload-time", "") > week for file in files)
        parents = [
            f"{parent} {new.version(parent)}"
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
