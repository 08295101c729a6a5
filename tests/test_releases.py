"""Releases: what one recorded, every later one understands; and people can read what changed."""

import re
import shutil
from pathlib import Path
from unittest import mock

import pytest
import yaml
from copier import run_recopy
from jinja2 import UndefinedError
from packaging.version import Version

from helpers import recorded_answers
from helpers.profiles import ROOT, SETTINGS, Answers
from helpers.rendering import ANSWERS_FILE, Project

VERSIONS = [path.stem for path in recorded_answers.FOLDER.glob("*.yml")]
RECORDED = [
    pytest.param(answers, id=f"{version} {number}")
    for version in VERSIONS
    for number, answers in enumerate(recorded_answers.recorded(version))
]

# What became of a question or of a value since: its name now, its value now.
RENAMED: dict[str, str] = {}
REPLACED: dict[tuple[str, str], str] = {}

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
SECTIONS = re.findall(r"^## (.*)\n((?:(?!## ).*\n?)*)", CHANGELOG, re.MULTILINE)


def loaded(template: Path, folder: Path, answers: Answers) -> Answers:
    """Return what the template makes of a project's recorded answers."""
    folder.mkdir(parents=True)
    text = yaml.safe_dump({"_src_path": str(template), **answers}, sort_keys=False)
    (folder / ANSWERS_FILE).write_text(text)
    with mock.patch("copier._main.is_git_available", return_value=False):
        run_recopy(folder, defaults=True, skip_answered=True, overwrite=True, quiet=True)
    return Project(folder).answers


def lost(answers: Answers, now: Answers) -> list[str]:
    """Return the questions whose recorded answer is not what it was, nor what replaces it."""
    return [
        name
        for name, value in answers.items()
        if name != "starter"
        and now.get(RENAMED.get(name, name)) != REPLACED.get((name, str(value)), value)
    ]


@pytest.mark.parametrize("answers", RECORDED)
def test_what_a_release_recorded_still_loads(
    answers: Answers, template: Path, tmp_path: Path
) -> None:
    assert lost(answers, loaded(template, tmp_path / "my-service", answers)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    Job      batch work that runs to its end: job\n", ""),
        ("python_version:\n", "python:\n"),
        ("runtime_packages:\n", "system_packages:\n"),
    ],
)
def test_what_is_lost_is_noticed(old: str, new: str, template: Path, tmp_path: Path) -> None:
    """A value that goes and a question that gets another name, with nothing that carries over."""
    changed = tmp_path / "slipway"
    shutil.copytree(template, changed)
    text = (changed / "copier.yml").read_text()
    assert old in text
    (changed / "copier.yml").write_text(text.replace(old, new))
    found = []
    for number, answers in enumerate(recorded_answers.recorded(recorded_answers.VERSION)):
        try:
            found += lost(answers, loaded(changed, tmp_path / str(number) / "a", answers))
        except UndefinedError as error:
            found.append(str(error))
    assert found


def test_the_coming_release_is_recorded() -> None:
    """Where it is not: uv run --directory tests python -m helpers.recorded_answers."""
    documents = recorded_answers.recorded(recorded_answers.VERSION)
    assert (
        set.union(*(recorded_answers.values(d) for d in documents))
        == recorded_answers.every_value()
    )
    asked = {name for name in SETTINGS if not name.startswith("_")}
    assert all(document.keys() - {"starter"} == asked for document in documents)


def test_versions_are_those_of_pep_440_newest_first() -> None:
    names = [title.split(" ")[0] for title, _ in SECTIONS]
    assert names[0] == "Unreleased" or names[0] == recorded_answers.VERSION
    versions = [Version(name) for name in names if name != "Unreleased"]
    assert versions == sorted(versions, reverse=True)
    assert str(Version(recorded_answers.VERSION)) == recorded_answers.VERSION
    assert all(str(Version(name)) == name for name in VERSIONS)


@pytest.mark.parametrize(("title", "text"), SECTIONS)
def test_a_release_says_what_changes_and_what_to_do(title: str, text: str) -> None:
    assert re.fullmatch(r"Unreleased|\S+ \(\d{4}-\d{2}-\d{2}\)", title)
    assert re.findall(r"^### (.*)", text, re.MULTILINE) == ["In your project", "What to do"]
    for part in text.split("### ")[1:]:
        assert part.partition("\n")[2].strip()
