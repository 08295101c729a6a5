"""Projects that Copier renders from the working tree of this repository, as a user's would."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from copier import run_copy
from jinja2 import Environment

from helpers.profiles import ROOT

# What generating a project needs; the rest of the repository is about the template.
TEMPLATE_FILES = ("copier.yml", "template")
ANSWERS_FILE = ".copier-answers.yml"


@dataclass(frozen=True)
class Project:
    """A generated project."""

    path: Path

    @cached_property
    def answers(self) -> dict[str, Any]:
        """The recorded answers to questions."""
        return {n: v for n, v in self._recorded.items() if n[0] != "_" and n != "starter"}

    @property
    def starter(self) -> list[str]:
        """The recorded groups of starter code that were written."""
        groups: list[str] = self._recorded["starter"]
        return groups

    @cached_property
    def files(self) -> list[Path]:
        """The files of the project, relative to it."""
        found = (path for path in self.path.rglob("*") if not path.is_dir())
        return sorted(path.relative_to(self.path) for path in found)

    def read(self, name: str | Path) -> str:
        """Return a file's text, its line ends untouched."""
        return (self.path / name).read_bytes().decode()

    @cached_property
    def _recorded(self) -> dict[str, Any]:
        recorded: dict[str, Any] = yaml.safe_load((self.path / ANSWERS_FILE).read_text())
        return recorded


# What Copier says of an answer that a question's or a choice's validator turns down.
_REFUSED = re.compile(
    r"(?:Validation error for question|Invalid choice for) '(\w+)': (.*)", re.DOTALL
)

Render = Callable[..., Project]


@contextmanager
def compiled_once() -> Iterator[None]:
    """Keep what Jinja has compiled: Copier has it compile each path and each file of a copy anew."""
    compiled: dict[object, object] = {}
    compile_anew = Environment.compile

    def compile_once(
        environment: Environment, source: Any, name: Any = None, file: Any = None, *rest: Any
    ) -> Any:
        key = (
            *(source, name, rest, type(environment), environment.undefined),
            *(environment.trim_blocks, environment.lstrip_blocks),
            *(environment.keep_trailing_newline, *sorted(environment.extensions)),
        )
        if key not in compiled:
            compiled[key] = compile_anew(environment, source, name, file, *rest)
        return compiled[key]

    with mock.patch.object(Environment, "compile", compile_once):
        yield


def snapshot(destination: Path) -> Path:
    """Copy the template's working tree, uncommitted changes included, and return the copy."""
    destination.mkdir(parents=True)
    for name in TEMPLATE_FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, destination / name)
        else:
            shutil.copy(source, destination / name)
    return destination


def copy(template: Path, destination: Path, answers: Mapping[str, Any] | None = None) -> Project:
    """Copy the template without --trust and without a question asked.

    Raises what Copier raises. Git is hidden from Copier, which halves the time it takes; the
    tests of the command line and of updates leave it in sight.
    """
    with mock.patch("copier._main.is_git_available", return_value=False):
        data = dict(answers or {})
        run_copy(str(template), destination, data=data, defaults=True, overwrite=True, quiet=True)
    return Project(destination)


def refusal(
    template: Path, destination: Path, answers: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Return the question that refuses the answers and why, or None where they are taken.

    Raises AssertionError where something was written all the same, or where Copier failed for
    another reason than an answer.
    """
    try:
        copy(template, destination, answers)
    except ValueError as error:
        refused = _REFUSED.fullmatch(str(error))
        if not refused or destination.exists():
            raise AssertionError(f"not a clean refusal, written: {destination.exists()}") from error
        return refused[1], refused[2]
    return None
