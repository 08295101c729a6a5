"""What of this host the tests of projects use: uv, and the Python interpreters that it can run."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from helpers.commands import attempt, run
from helpers.profiles import SETTINGS

# The variables that a terminal of the user's would have; the rest is of this test run and its
# virtual environment, and would decide things in a project that must decide them itself.
_KEPT = re.compile(
    r"HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|(?i:https?|no|all)_proxy|SSL_CERT_\w+"
    r"|UV_(CACHE_DIR|LINK_MODE|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|INDEX\w*|SYSTEM_CERTS"
    r"|NATIVE_TLS|INSECURE_HOST)"
)


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter, of a version that the template offers."""

    version: str
    path: Path


@cache
def uv() -> Path | None:
    """Return where uv is, or None; `uv run` tells it to what it runs."""
    found = os.environ.get("UV") or shutil.which("uv")
    return Path(found) if found else None


@cache
def interpreter() -> Interpreter | None:
    """Return the newest interpreter of this host that a generated project can use, or None."""
    for version in SETTINGS["python_version"]["choices"]:
        for path in (*_known_to_uv(version), *_of_pyenv(version)):
            if _version(path) == version:
                return Interpreter(version, path)
    return None


def require_python() -> Interpreter:
    """Return `interpreter()`. Where it or uv is missing, skip the test that calls this."""
    if uv() is None:
        pytest.skip("uv is not here")
    if (python := interpreter()) is None:
        pytest.skip(f"no Python of {', '.join(SETTINGS['python_version']['choices'])} is here")
    return python


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for commands in a project, as in a new terminal, and `extra`.

    uv is on PATH, the tests' own virtual environment is not. uv uses `interpreter()`: do not run
    `uv pip install` in it, which would install there.
    """
    here = Path(sys.prefix, "bin")
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if Path(f) != here]
    if program := uv():
        folders.insert(0, str(program.parent))
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    kept |= {"PATH": os.pathsep.join(folders), "UV_PYTHON_DOWNLOADS": "never"}
    if python := interpreter():
        kept["UV_PYTHON"] = str(python.path)
    return kept | dict(extra or {})


def lock(project: Path, variables: Mapping[str, str] | None = None) -> None:
    """Let uv lock a project, with some variables besides those of `environment`."""
    program = uv()
    assert program, "uv is not here"
    run(program, "lock", "--quiet", cwd=project, env=environment(variables))


def _known_to_uv(version: str) -> Iterator[Path]:
    """Yield the interpreter that uv would choose for a version, if any."""
    if program := uv():
        find = ("python", "find", "--no-project", "--no-python-downloads", version)
        kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        found = attempt(program, *find, env=kept, cwd=Path("/"))
        if found.returncode == 0:
            yield Path(found.stdout.strip())


def _of_pyenv(version: str) -> Iterator[Path]:
    """Yield pyenv's interpreters of a version, newest first; its shims may refuse to run them."""
    root = os.environ.get("PYENV_ROOT")
    if not root and (pyenv := shutil.which("pyenv")):
        root = attempt(pyenv, "root").stdout.strip()
    if root:
        found = Path(root, "versions").glob(f"{version}.*/bin/python{version}")
        yield from sorted(found, key=lambda path: _numbers(path.parents[1].name), reverse=True)


def _numbers(name: str) -> list[int]:
    """Return the numbers in a version's name."""
    return [int(number) for number in re.findall(r"\d+", name)]


def _version(path: Path) -> str | None:
    """Return the minor version that an interpreter says it is of, or None where it fails."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = attempt(path, "-c", code)
    except OSError:
        return None
    return said.stdout.strip() if said.returncode == 0 else None
