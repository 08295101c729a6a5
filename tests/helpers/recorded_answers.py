"""What releases recorded in the answers files of projects.

Run `uv run --directory tests python -m helpers.recorded_answers` before a release, and whenever a question or a choice joins or leaves copier.yml: it writes
the file of the version in pyproject.toml. A file whose version has its tag is never written again.
"""

import tempfile
import tomllib
from pathlib import Path
from typing import Any

import yaml

from helpers.profiles import QUESTIONNAIRE, ROOT, Answers
from helpers.rendering import ANSWERS_FILE, copy, snapshot

FOLDER = ROOT / "tests/data/recorded_answers"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def values(answers: Answers) -> set[tuple[str, str]]:
    """Return each fixed value that some answers hold, by its question."""
    return {
        (question.name, str(value).lower())
        for question in QUESTIONNAIRE.closed
        for value in (answers[question.name] if question.multiselect else [answers[question.name]])
    }


def every_value() -> set[tuple[str, str]]:
    """Return each value of copier.yml."""
    return {(question.name, c.value) for question in QUESTIONNAIRE.closed for c in question.choices}


def recorded(version: str) -> list[dict[str, Any]]:
    """Return the answers files of a release, without Copier's own entries."""
    text = (FOLDER / f"{version}.yml").read_text()
    found: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    return found


def record() -> None:
    """Write the answers files of projects that together hold each value."""
    missing = every_value()
    documents = []
    with tempfile.TemporaryDirectory() as folder:
        template = snapshot(Path(folder, "template"))
        for number, answers in enumerate(QUESTIONNAIRE.profiles.values()):
            project = copy(template, Path(folder, str(number), "my-service"), answers)
            if missing & values(project.answers):
                missing -= values(project.answers)
                lines = project.read(ANSWERS_FILE).splitlines(keepends=True)
                documents.append("".join(line for line in lines if line[0] not in "#_"))
    assert not missing, missing
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{VERSION}.yml").write_text("---\n".join(documents))


if __name__ == "__main__":
    record()
