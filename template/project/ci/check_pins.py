"""Check that every file names the same version of uv and the same version of Python.

Run it in the project's folder: it prints each place that differs and exits with 1.

uv's version is the lower bound of required-version in pyproject.toml. If .tool-versions names one,
that one counts, and the lower bound is only what other tools need. Python's version is the one in
.python-version. The answers file is checked too, because files that an update adds later use the
versions in it.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

FILES = [
    ".copier-answers.yml",
    ".github/workflows/*.yml",
    ".gitlab-ci.yml",
    "Dockerfile",
    "docker-bake.hcl",
]
PATTERNS = {
    "uv": r"(?:astral-sh/uv:|^uv_version: )(\d+(?:\.\d+)*)",
    "Python": r"(?:python:?|--python |-bytecode |^python_version: ')(3\.\d+)",
}
LOWER_BOUND = r"(?:>=|==|~=) *(\d+(?:\.\d+)*)"


def version_in(text: str, pattern: str, place: str) -> str:
    """Return the version that a text names. If there is none, exit with a line naming the place."""
    found = re.search(pattern, text)
    return found[1] if found else sys.exit(f"{place} names no version")


def numbers(version: str) -> tuple[int, ...]:
    """Return a version in a form that can be compared."""
    return tuple(int(number) for number in version.split("."))


def drifts() -> Iterator[str]:
    """Yield a line for each place whose version differs."""
    pyproject = tomllib.loads(Path("pyproject.toml").read_text())
    required = pyproject.get("tool", {}).get("uv", {}).get("required-version", "")
    lowest = version_in(required, LOWER_BOUND, "pyproject.toml: tool.uv.required-version")
    tools = Path(".tool-versions")
    pinned = re.search(r"^uv +(\S+)", tools.read_text(), re.MULTILINE) if tools.exists() else None
    uv, uv_place = (pinned[1], str(tools)) if pinned else (lowest, "pyproject.toml")
    if numbers(lowest) > numbers(uv):
        yield f"pyproject.toml: uv {lowest} is required, but {uv_place} names {uv}"

    python = version_in(Path(".python-version").read_text(), r"(\d+\.\d+)", ".python-version")
    required = pyproject["project"].get("requires-python", "")
    lowest = version_in(required, LOWER_BOUND, "pyproject.toml: project.requires-python")
    if numbers(lowest)[:2] > numbers(python):
        yield f"pyproject.toml: Python {lowest} is required, but .python-version names {python}"

    expected = {"uv": (uv, uv_place), "Python": (python, ".python-version")}
    for path in sorted(path for name in FILES for path in Path().glob(name)):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for name, (version, place) in expected.items():
                for other in re.findall(PATTERNS[name], line):
                    if other != version:
                        yield f"{path}:{number}: {name} {other}, but {place} names {version}"


if __name__ == "__main__":
    sys.exit("\n".join(drifts()) or 0)
