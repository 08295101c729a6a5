"""What each profile renders is short and reads well: limits, anchors, columns and groups."""

import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from helpers.dockerfile_model import parse
from helpers.rendering import Project, Render

# Lines of the Dockerfile for Django with all dependency groups on python:slim, by where private
# packages come from.
MOST_LINES = {"none": 90, "git-https": 150, "git-ssh": 150, "index": 150}


@pytest.mark.parametrize("kind", MOST_LINES)
def test_dockerfile_is_short(kind: str, render: Render) -> None:
    project = render(
        framework="django",
        database="postgres",
        base_image="slim",
        dependency_groups=["test", "quality", "dev", "docs"],
        private_dependencies=kind,
    )
    assert len(project.read("Dockerfile").splitlines()) <= MOST_LINES[kind]


def test_options_of_uv_are_said_once(project: Project) -> None:
    """As build arguments, which the stages built on the first one inherit."""
    text = project.read("Dockerfile")
    arguments = [i for _, i in parse(text).instructions if i.name == "ARG"]
    options = [name for i in arguments for name in i.variables if name.startswith("UV_")]
    assert len(options) > 3
    for name in options:
        # Once for all, and off where it cannot hold.
        assert len(re.findall(rf"\b{name}=(?!0)", text)) == 1, name
        flag = name.removeprefix("UV_").lower().replace("_", "-")
        commands = re.findall(rf".*--{flag}\b.*", text)
        # Python is installed in a stage of its own.
        assert all("uv python install" in command for command in commands), commands


def test_each_anchor_of_compose_is_used_more_than_once(project: Project) -> None:
    text = project.read("compose.yaml")
    for name in re.findall(r"&(\w+)", text):
        assert len(re.findall(rf"\*{name}\b", text)) > 1, name
    # An extension field is there for its anchor.
    assert len(re.findall(r"^x-", text, re.MULTILINE)) == len(re.findall(r"&\w+", text))


def test_a_blank_line_follows_each_table(project: Project) -> None:
    """Without it, Markdown takes the next line for a row."""
    for name in project.files:
        if name.suffix == ".md":
            for line, following in pairwise([*project.read(name.as_posix()).splitlines(), ""]):
                if line.startswith("|"):
                    assert following == "" or following.startswith("|"), (name, following)


def ragged(text: str) -> Iterator[str]:
    """Yield attributes of a file in HCL whose equals signs are not where hclfmt puts them.

    It aligns the attributes of neighboring lines of one depth; one that goes on over several lines
    stays out of that.
    """
    attribute = re.compile(r"( *)([\w-]+|\"[^\"]*\")( *)=( *)(?!<<|.*[\[{(]$)\S")
    text = re.sub(r"<<EOF\n.*?\nEOF", "<<EOF", text, flags=re.DOTALL)
    lines = [(attribute.match(line), line) for line in text.splitlines()]
    for key, group in groupby(lines, key=lambda item: item[0] and item[0][1]):
        if key is not None:
            found = [match for match, _ in group if match]
            width = max(len(match[2]) for match in found) + 1
            yield from (m[0] for m in found if len(m[2] + m[3]) != width or m[4] != " ")


def test_columns_of_the_bake_file_are_those_of_hclfmt(project: Project) -> None:
    assert list(ragged(project.read("docker-bake.hcl"))) == []


def glued(text: str) -> Iterator[str]:
    """Yield comments of an .env.example that follow a setting without an empty line."""
    setting = re.compile(r"(# )?[A-Z][A-Z0-9_]*=")
    lines = text.splitlines()
    for line, following in pairwise(lines):
        if setting.match(line) and following.startswith("#") and not setting.match(following):
            yield following


def test_settings_are_apart_from_the_next_comment(project: Project) -> None:
    if Path(".env.example") in project.files:
        assert list(glued(project.read(".env.example"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a {\n  b = 1\n  cc = 2\n}\n", ["  b = 1"]),
        ("a {\n  b  = 1\n  cc = 2\n}\n", []),
        ("a {\n  b  = 1\n\n  cc = 2\n}\n", ["  b  = 1"]),
        ("a {\n  bbb = 1\n  c = {\n    d = 1\n  }\n}\n", []),
        ("a {\n  bbb = 1\n  c =  1\n}\n", ["  c =  1"]),
    ],
)
def test_ragged_columns_are_noticed(text: str, found: list[str]) -> None:
    assert [line[: len(line)] for line in ragged(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# One.\nA=1\n\n# Two.\n# B=2\n# C=3\n", []),
        ("# One.\n# A=1\n# Two.\n# B=2\n", ["# Two."]),
        ("A=1\nB=2\n# Two.\n", ["# Two."]),
    ],
)
def test_glued_settings_are_noticed(text: str, found: list[str]) -> None:
    assert list(glued(text)) == found
