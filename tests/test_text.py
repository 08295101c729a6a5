"""Free text in the answers: refused with one line, or harmless in every file."""

import ast
import re
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest
import yaml
from copier import run_copy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.commands import run
from helpers.profiles import QUESTIONNAIRE, Answers
from helpers.rendering import ANSWERS_FILE, Project, Render, copy, refusal

Texts = Mapping[str, str]

# Each question that takes any text.
TEXT = [
    name
    for name, details in QUESTIONNAIRE.details.items()
    if details["type"] == "str" and "choices" not in details
]
# Those whose answer may be any line. The others name things in code, in images and on command
# lines, where only a plain word is safe; a new question is one of them until it joins these.
PROSE = ["project_name", "description"]
NAMES = [name for name in TEXT if name not in PROSE]
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Several words, or none: these stand in the Dockerfile.
LISTS = ["runtime_packages", "build_packages"]
WORDS = re.compile(r"[ ,]*([a-z0-9][a-z0-9+.-]+([ ,]+|$))*")
# Those that have a form of their own.
FORMS = {
    **dict.fromkeys(LISTS, WORDS),
    "private_host": re.compile(r"[a-z0-9.-]+(:\d+)?"),
    "private_user": re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*"),
    # Private packages, which stand nowhere in a project that has none.
    "private_packages": re.compile(r"[\n -~]*"),
    "private_index_url": re.compile(r"https://[A-Za-z0-9.:/_~%+-]+"),
}

FRAMEWORKS = QUESTIONNAIRE.factors["framework"]

# A project without anything hostile, with a file of each kind that text goes into.
PLAIN: Answers = {
    "project_name": "Plain",
    "description": "Plain.",
    "package_name": "plain",
    "dependency_groups": ["test", "quality", "dev", "docs"],
}
# The names of the modules in which a string is the project's name.
NAMED = {"app.py", "urls.py"}
# The only other files that prose may change.
WITH_PROSE = {Path(name) for name in (ANSWERS_FILE, "README.md", "docs/index.md", "pyproject.toml")}

# Lines of text, each of a kind that has broken a template somewhere.
LINES = {
    "double quotes": 'The "best" tool',
    "single quotes": "it's 'best'",
    "triple quotes": "\"\"\"doc\"\"\" and '''doc'''",
    "backslashes": r"C:\new\table \u0041 \N{DASH} \d",
    "backslash at the end": "ends in \\",
    "Jinja expression": "{{ 7 * 7 }} {{ missing }}",
    "Jinja statement": "{% raw %}{% include 'copier.yml' %}",
    "Jinja comment": "a {# b #} c #}",
    "Jinja left open": "{{ {% {#",
    "format strings": "%d %(x)s %% {0} {x!r}",
    "shell": "$HOME ${HOME} $(touch x) `touch x` && exit 1; | > x",
    "Dockerfile": "RUN x \\ # escape=`",
    "hash": "a # b",
    "hash first": "# a",
    "Markdown": "**a** [b](c) <d> | `e` ![f](g)",
    "HTML": "</title><script>alert(1)</script> &amp;",
    "YAML mapping": "a: b",
    "YAML list": "- a",
    "YAML flow": "[a, {b: c}]",
    "YAML anchor": "&a *b !c",
    "YAML block": "| a",
    "YAML document": "--- a",
    "YAML null": "null",
    "YAML tilde": "~",
    "YAML boolean": "on",
    "YAML octal": "007",
    "YAML hexadecimal": "0x1F",
    "YAML float": "1e3",
    "YAML infinity": ".inf",
    "YAML sexagesimal": "12:30:45",
    "YAML date": "2026-01-01",
    "YAML merge": "<<",
    "YAML value": "=",
    "leading space": "  a",
    "trailing space": "a  ",
    "emoji": "\U0001f680 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c",
    "combining": "e\u0301 Z\u0351\u036b\u0343\u036a",
    "odd spaces": "a\u00a0b\u3000c\u200bd",
    "noncharacters": "\ufffe \uffff \U0010ffff \ue000",
    "longest": "x" * 200,
    "longest of words": "two  words " * 18,
    "longest of emoji": "\U0001f680" * 200,
}
# What is no line of text, or too much of one.
REFUSED = {
    "NUL": "a\0b",
    "bell": "a\ab",
    "escape": "a\x1b[31mb",
    "tab": "a\tb",
    "delete": "a\x7fb",
    "line break": "a\nb",
    "line break at the end": "a\n",
    "line break after a version": "0.13.8\n",
    "carriage return": "a\r\nb",
    "next line": "a\u0085b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "byte order mark": "\ufeffa",
    "high surrogate": "a\ud83d",
    "low surrogate": "\udc80a",
    "surrogates": "\ud83d\ude80",
    "too long": "x" * 201,
    "far too long": "two words " * 10_000,
}

_LINE_PIECES = st.sampled_from(
    [
        *"\"'\\$`#:-&*!|%<= a7_\u0301\u202e\U0001f680\ufffe",
        *["{{", "}}", "{%", "%}", "{#", "#}", "${", '"""', "class", "0.13.8"],
        *LINES.values(),
    ]
) | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
_PIECES = _LINE_PIECES | st.text(max_size=3) | st.sampled_from("\0\n\r\t\u0085\ufeff\ud800")
_TEXTS = (
    st.sampled_from([*LINES.values(), *REFUSED.values()])
    | st.lists(_LINE_PIECES, max_size=6).map("".join)
    | st.lists(_PIECES, max_size=4).map("".join)
)


def assert_readable(refused: tuple[str, str]) -> None:
    """Check that a refusal is one line which a terminal of 80 columns shows in full."""
    name, reason = refused
    line = f"Validation error for question '{name}': {reason}"
    assert line.isprintable()
    assert len(line) <= 80, f"{len(line) - 80} characters too long: {line}"


def assert_parses(project: Project) -> None:
    """Check the syntax of the files that have one, as far as Python knows it."""
    for name in project.files:
        text = project.read(name)
        match name.suffix:
            case ".py":
                # Type parameters of functions are newer than Python 3.11, which may run this.
                ast.parse(re.sub(r"(def \w+)\[\w+\]\(", r"\1(", text), str(name))
            case ".toml":
                tomllib.loads(text)
            case ".yml" | ".yaml":
                yaml.safe_load(text)


def assert_named(text: str, twin: str, name: str) -> None:
    """Check that a module is like its twin but for the string that is the project's name."""
    lines = [(a, b) for a, b in zip(text.split("\n"), twin.split("\n"), strict=True) if a != b]
    assert len(lines) == (name != "Plain")
    for line, _ in lines:
        string = re.fullmatch(r"(?:NAME = | +title=)(.+?),?", line)
        assert string, ascii(line)
        assert ascii(ast.literal_eval(string[1])) == ascii(name)


def assert_harmless(project: Project, texts: Texts, plain: Answers, render: Render) -> None:
    """Check that the project holds the texts as they were given, and nowhere but as text.

    `plain` are the project's other answers.
    """
    for name, text in texts.items():
        # In ASCII, as the workers of a parallel run cannot report a surrogate.
        assert ascii(project.answers[name]) == ascii(text)
        assert name in PROSE or FORMS.get(name, WORD).fullmatch(text)
    # The same project with plain prose.
    twin = render(**plain | {name: texts[name] for name in NAMES if name in texts})
    assert project.files == twin.files
    for path in project.files:
        if path not in WITH_PROSE and path.name not in NAMED:
            assert project.read(path) == twin.read(path), path
    answers = plain | dict(texts)
    for path in project.files:
        if path.name in NAMED:
            assert_named(project.read(path), twin.read(path), answers["project_name"].strip())
    for file in ("README.md", "docs/index.md"):
        head = [f"# {answers['project_name'].strip()}"]
        if description := answers["description"].strip():
            head += ["", description]
        lines, twin_lines = (p.read(file).split("\n") for p in (project, twin))
        assert lines == head + twin_lines[3:]
    metadata, twin_metadata = (tomllib.loads(p.read("pyproject.toml")) for p in (project, twin))
    assert metadata["project"].pop("description") == answers["description"]
    assert twin_metadata["project"].pop("description") == plain["description"]
    assert metadata == twin_metadata


def assert_refused_or_harmless(
    template: Path, texts: Texts, plain: Answers, render: Render
) -> None:
    """Check that Copier refuses the texts before it writes anything, or that they do no harm."""
    with tempfile.TemporaryDirectory() as folder:
        destination = Path(folder, "project")
        refused = refusal(template, destination, plain | dict(texts))
        if refused:
            assert refused[0] in texts
            assert_readable(refused)
        else:
            project = Project(destination)
            assert_parses(project)
            assert_harmless(project, texts, plain, render)


@pytest.mark.parametrize("text", LINES.values(), ids=LINES.keys())
def test_a_line_of_text_is_taken_as_it_is(
    text: str, template: Path, tmp_path: Path, render: Render
) -> None:
    texts = dict.fromkeys(PROSE, text)
    project = copy(template, tmp_path / "project", PLAIN | texts)
    assert_parses(project)
    assert_harmless(project, texts, PLAIN, render)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_plain_word_or_several(name: str, template: Path, render: Render) -> None:
    for text in LINES.values():
        assert_refused_or_harmless(template, {name: text}, PLAIN, render)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_line_of_text_is_refused(text: str, template: Path, tmp_path: Path) -> None:
    for name in TEXT:
        # A list may have line breaks between its items.
        if name == "private_packages" and re.fullmatch(r"[a-z0-9.\n]{1,2000}", text):
            continue
        refused = refusal(template, tmp_path / "project", PLAIN | {name: text})
        assert refused, name
        assert refused[0] == name
        assert_readable(refused)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    texts=st.dictionaries(st.sampled_from(TEXT), _TEXTS, min_size=1, max_size=2),
    framework=st.sampled_from(FRAMEWORKS),
)
@example(texts={"project_name": ""}, framework="django")
@example(texts={"project_name": " "}, framework="django")
@example(texts={"description": ""}, framework="fastapi")
@example(texts={"description": " "}, framework="job")
@example(texts={"package_name": "telnetlib"}, framework="django")
@example(texts={"package_name": "x" * 40}, framework="django")
@example(texts={"package_name": "x" * 41}, framework="django")
@example(texts={"package_name": "\N{LATIN SMALL LETTER LONG S}"}, framework="django")
@example(texts={"uv_version": "\N{ARABIC-INDIC DIGIT ONE}.2.3"}, framework="django")
def test_any_text_is_refused_or_harmless(
    template: Path, render: Render, texts: Texts, framework: str
) -> None:
    assert_refused_or_harmless(template, texts, PLAIN | {"framework": framework}, render)


@pytest.mark.parametrize("name", ["framwork", "x" * 100], ids=len)
def test_an_unknown_answer_is_refused(name: str, template: Path, tmp_path: Path) -> None:
    refused = refusal(template, tmp_path / "project", {name: "x"})
    assert refused
    assert_readable(refused)


# The first question's default is the folder's name, which need not even be text in UTF-8.
@pytest.mark.parametrize("folder", ["a\tb", "a\nb", "\udc80a", "\u2028", "x" * 201, "-"], ids=ascii)
def test_a_folder_without_a_name_of_use_is_refused(
    folder: str, template: Path, tmp_path: Path
) -> None:
    refused = refusal(template, tmp_path / folder, {})
    assert refused
    assert refused[0] == "project_name"
    assert_readable(refused)


@pytest.mark.parametrize(
    "name", ["it's", 'a "b"', "$HOME $(touch x) `x`", "a\\", "{{ 7 * 7 }}", "#a", "\U0001f680", "~"]
)
def test_any_line_of_text_can_be_a_folder(
    name: str, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    with mock.patch("copier._main.is_git_available", return_value=False):
        run_copy(str(template), folder, defaults=True, data={"project_name": name})
    project = Project(folder)
    assert_parses(project)
    assert WORD.fullmatch(project.answers["package_name"])
    # The lines to run next are for a shell.
    commands = [line for line in capsys.readouterr().err.splitlines() if "    cd " in line]
    assert commands
    for command in commands:
        assert shlex.split(command)[:3] == ["cd", str(folder), "&&"]


@pytest.mark.parametrize("framework", ["django", "fastapi"])
def test_code_is_linted_whatever_the_project_is_called(
    framework: str, template: Path, tmp_path: Path
) -> None:
    """Its name is a string there, in which ruff reports characters that look like others."""
    answers = {"framework": framework, "package_name": "plain"}
    ruff = [sys.executable, "-m", "ruff"]
    names = [
        "Tom\u2019s \u201cBest\u201d",
        'it\'s "best"',
        "\u0440\u043e\u0441\u0430",
        "C:\\new",
        "x \u2013 y",
    ]
    for name in names:
        project = copy(template, tmp_path / "project", answers | {"project_name": name})
        for command in ["format", "--check"], ["check", "--select", "RUF001"]:
            run(*ruff, *command, "--isolated", "--line-length=100", "src", cwd=project.path)


def test_code_is_formatted_whatever_the_package_is_called(
    profile: Answers, template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / "my-service", {**profile, "package_name": "z" * 40})
    for command in ["format", "--check"], ["check", "--select", "I"]:
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--quiet", "--diff"]
        # Adopted projects have settings of their own, of which there are none here.
        ruff += ["--config", "line-length = 100"]
        assert run(*ruff, cwd=project.path) == ""
