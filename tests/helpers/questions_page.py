"""The reference of questions, docs/questions.md, which is made from copier.yml and from projects.

Write it again: `uv run --directory tests python -m helpers.questions_page`.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.profiles import QUESTIONNAIRE, ROOT, Answers
from helpers.rendering import ANSWERS_FILE, Project, Render, compiled_once, copy, snapshot

PAGE = ROOT / "docs" / "questions.md"

# Folders whose files are not listed one by one.
FOLDERS = ("ci", "docs", "migrations", "src", "tests")

# Defaults that depend on something, in words.
DEFAULTS = {
    "adopt": "`true` where the folder has a `pyproject.toml` but no `.copier-answers.yml`",
    "project_name": "the folder's name",
    "framework": "`django`; adoption proposes what the project's files suggest",
    "database": "`postgres`, for a job `none`; adoption proposes what the dependencies suggest",
    "private_host": "`gitlab.com` with `ci=gitlab`, else `github.com`",
    "private_user": "`x-access-token` for GitHub, `x-token-auth` for Bitbucket, else `gitlab-ci-token`",
    "private_index_url": "`https://pypi.example.com/simple/`",
    "package_name": "made from `project_name`; adoption proposes the one in `src`",
    "description": "a sentence that names the framework",
    "python_version": "`3.14`; adoption proposes what `.python-version` says",
    "python_source": "`image` with `base_image=slim`, else `managed`",
}

# A text for each question whose answer is typed, to show what it changes.
EXAMPLES = {
    "project_name": "Tide Tables",
    "private_host": "git.example.com",
    "private_user": "gitlab+deploy-token-1",
    "private_packages": "billing @ git+https://github.com/acme/billing.git@v1.2.0",
    "private_index_url": "https://packages.example.com/simple/",
    "package_name": "tides",
    "description": "Tide tables.",
    "runtime_packages": "libpango-1.0-0",
    "build_packages": "build-essential",
    "uv_version": "9.9.9",
}

# Answers that a question or one of its values needs beside it. Without an entry these are the
# defaults, by which a project on Django results.
BESIDE: dict[str, Answers] = {
    "private_host": {"private_dependencies": "git-https"},
    "private_user": {"private_dependencies": "git-https"},
    "company_ca": {"private_dependencies": "git-https"},
    "private_packages": {"private_dependencies": "git-https"},
    "private_index_url": {"private_dependencies": "index"},
    "python_source=apt": {"base_image": "ubuntu"},
    "accelerator": {"base_image": "cuda", "framework": "fastapi"},
    "database=none": {"framework": "fastapi"},
}

# Values that only go together with others, which have an effect of their own.
NOT_SHOWN = {"python_source=managed"}

HEADER = """\
# Questions

Each question of the template, in the order in which they are asked. Names and values are an
interface: `-d NAME=VALUE` answers a question on the command line, and `--defaults` answers the rest.
This page is made from `copier.yml`; the files that an answer changes are read off generated
projects.

| question | values, default first | asked |
| --- | --- | --- |
"""


def page(render: Render) -> str:
    """Return the page; `render` makes the projects that show what an answer changes."""
    rows = [
        f"| `{name}` | {_values(name)} | {asked(details.get('ask', True))} |\n"
        for name, details in QUESTIONNAIRE.details.items()
    ]
    sections = (_section(name, render) for name in QUESTIONNAIRE.details)
    return HEADER + "".join(rows) + "".join(sections)


def asked(condition: str | bool) -> str:
    """Say in words when a question is asked.

    Raises ValueError for a condition that is written in another way than those of copier.yml.
    """
    if isinstance(condition, bool):
        return "always" if condition else "never: `-d`"
    parts = condition.strip("{} ").split(" and ")
    return "with " + " and ".join(_condition(part) for part in parts)


def _condition(part: str) -> str:
    if re.fullmatch(r"\w+", part):
        return f"`{part}`"
    if match := re.fullmatch(r"(\w+) == '([\w-]+)'", part):
        return f"`{match[1]}={match[2]}`"
    if match := re.fullmatch(r"(\w+) != '([\w-]+)'", part):
        return f"`{match[1]}` other than `{match[2]}`"
    if match := re.fullmatch(r"(\w+) in \[(.*)\]", part):
        values = re.findall(r"'([\w-]+)'", match[2])
        return " or ".join(f"`{match[1]}={value}`" for value in values)
    raise ValueError(f"no words for {part!r}")


def _choices(name: str) -> dict[str, tuple[str, str]]:
    """Return a question's values, each with its label and with what it needs."""
    details = QUESTIONNAIRE.details[name]
    if details["type"] == "bool":
        words = {"false": ("no", ""), "true": ("yes", "")}
        return dict(sorted(words.items(), reverse=details["default"] is True))
    choices = details.get("choices", {})
    if isinstance(choices, list):
        return dict.fromkeys(choices, ("", ""))
    found = {}
    for label, choice in choices.items():
        value, validator = (
            (choice["value"], choice["validator"]) if isinstance(choice, dict) else (choice, "")
        )
        reasons = [text.strip() for text in re.split(r"{%.*?%}", validator) if text.strip()]
        short = re.sub(rf"^{re.escape(value)} {{2,}}", "", label)
        found[value] = (re.sub(" {2,}", ": ", short), "; ".join(reasons))
    return found


def _values(name: str) -> str:
    values = ", ".join(f"`{value}`" for value in _choices(name))
    if QUESTIONNAIRE.details[name].get("multiselect"):
        return f"several of {values}"
    return values or "text"


def _default(name: str) -> str:
    default = QUESTIONNAIRE.details[name]["default"]
    if name in DEFAULTS:
        return DEFAULTS[name]
    assert "{" not in str(default), f"say in DEFAULTS what {name} is by default"
    if isinstance(default, list):
        return ", ".join(f"`{value}`" for value in default)
    value = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{value}`" if value else "empty"


def _help(name: str) -> str:
    lines = [line.strip() for line in QUESTIONNAIRE.details[name]["help"].splitlines()]
    lines = [line for line in lines if "{" not in line]
    if not lines[0].endswith("?"):
        lines[0] += "."
    return " ".join(lines)


def _section(name: str, render: Render) -> str:
    lines = ["", f"## `{name}`", "", _help(name), ""]
    for value, (label, reason) in _choices(name).items():
        words = f": {label}" if label and label.lower() != value else ""
        lines.append(f"- `{value}`{words}{f' ({reason})' if reason else ''}")
    if _choices(name):
        lines.append("")
    if name in EXAMPLES:
        lines += [f"For example: `{EXAMPLES[name]}`", ""]
    lines += [f"Default: {_default(name)}. Asked: {_asked_sentence(name)}.", ""]
    rows = list(_effects(name, render))
    if rows:
        lines += ["| answer | writes | leaves out | changes |", "| --- | --- | --- | --- |", *rows]
    else:
        lines.append("By itself it changes no file.")
    return "\n".join(lines) + "\n"


def _asked_sentence(name: str) -> str:
    return asked(QUESTIONNAIRE.details[name].get("ask", True)).replace("never: `-d`", "never")


def _effects(name: str, render: Render) -> Iterator[str]:
    """Yield a row for each answer: what it changes in the project that is made without it."""
    for answer, value in _answers(name):
        if answer in NOT_SHOWN:
            continue
        beside = BESIDE.get(answer, BESIDE.get(name, {}))
        if name == "base_image":
            beside = {"python_version": "3.14"}
        before, after = _texts(render(**beside)), _texts(render(**beside, **{name: value}))
        written, left = after.keys() - before.keys(), before.keys() - after.keys()
        changed = {f for f in after.keys() & before.keys() if after[f] != before[f]}
        if written or left or changed:
            cells = (_names(files) for files in (written, left, changed))
            needs = "".join(f", with `{n}={v}`" for n, v in beside.items() if n != "python_version")
            yield f"| `{answer.partition('=')[2]}`{needs} | {' | '.join(cells)} |"


def _answers(name: str) -> Iterator[tuple[str, Any]]:
    """Yield the answers to a question that are not the default, each with NAME=VALUE."""
    details = QUESTIONNAIRE.details[name]
    default = details["default"]
    if name in EXAMPLES:
        yield f"{name}={EXAMPLES[name]}", EXAMPLES[name]
    elif details.get("multiselect"):
        for value in _choices(name):
            if value in default:
                yield f"{name}=without {value}", [v for v in default if v != value]
            else:
                yield f"{name}=with {value}", [*default, value]
    else:
        for value in list(_choices(name))[1:]:
            yield f"{name}={value}", value == "true" if details["type"] == "bool" else value


def _texts(project: Project) -> Mapping[str, bytes]:
    """Return a project's files by their names, those of one folder as one."""
    found: dict[str, bytes] = {}
    for file in project.files:
        if file.name != ANSWERS_FILE:
            folder = file.parts[0] in FOLDERS
            key = f"{file.parts[0]}/" if folder else str(file)
            text = (project.path / file).read_bytes()
            found[key] = found.get(key, b"") + (str(file).encode() if folder else b"") + text
    return found


def _names(files: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(files)) or "none"


def write() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder, compiled_once():
        template = snapshot(Path(folder, "template"))
        made: dict[str, Project] = {}

        def render(**answers: Any) -> Project:
            key = repr(sorted(answers.items()))
            if key not in made:
                made[key] = copy(template, Path(folder, str(len(made)), "my-service"), answers)
            return made[key]

        PAGE.write_text(page(render))


if __name__ == "__main__":
    write()
