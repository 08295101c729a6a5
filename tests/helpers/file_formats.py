"""What every generated file must be: of its format, without Jinja, and tidy."""

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import PurePath
from typing import Any

import yaml

Parser = Callable[[str], object]


class _StrictLoader(yaml.SafeLoader):
    """A loader of YAML to which a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = [key.value for key, _ in node.value]
        for key in seen:
            if seen.count(key) > 1 and key != "<<":
                raise yaml.YAMLError(f"{key} stands twice, at {node.start_mark}")
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> object:
    return yaml.load(text, _StrictLoader)


def _ini(text: str) -> object:
    # Only .editorconfig has keys before its first section.
    parser = configparser.RawConfigParser()
    parser.read_string(re.sub(r"\A(?=\w)", "[top]\n", text))
    return parser


def _environment(text: str) -> object:
    """Parse lines of NAME=value. Raises ValueError for another line."""
    for line in text.splitlines():
        if line and not re.match(r"#|[A-Z][A-Z0-9_]*=", line):
            raise ValueError(f"not a variable: {line}")
    return None


def _brackets(text: str) -> object:
    """Raise ValueError where brackets do not pair; for formats that have a tool of their own."""
    opened: list[str] = []
    for character in re.sub(r'"(\\.|[^"\\\n])*"|#.*', "", text):
        if character in "([{":
            opened.append({"(": ")", "[": "]", "{": "}"}[character])
        elif character in ")]}" and (not opened or opened.pop() != character):
            raise ValueError(f"a {character} too many")
    if opened:
        raise ValueError(f"{opened[-1]} is missing")
    return None


class _TagsPair(HTMLParser):
    """A parser of HTML that raises ValueError for a tag that is closed without being open."""

    VOID = frozenset(("br", "hr", "img", "input", "link", "meta"))

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened.pop() != tag:
            raise ValueError(f"</{tag}> closes another tag")


def _html(text: str) -> object:
    parser = _TagsPair()
    parser.feed(text)
    parser.close()
    if parser.opened:
        raise ValueError(f"<{parser.opened[-1]}> is not closed")
    return None


def _plain(text: str) -> object:
    return None


# By suffix, then by name. Python is ruff's to parse, for the version that the project targets.
_PARSERS: dict[str, Parser] = {
    ".env.example": _environment,
    ".hcl": _brackets,
    ".html": _html,
    ".ini": _ini,
    ".json": json.loads,
    ".mako": _plain,
    ".md": _plain,
    ".py": _plain,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".dockerignore": _plain,
    ".editorconfig": _ini,
    ".gitattributes": _plain,
    ".gitignore": _plain,
    ".python-version": _plain,
    ".tool-versions": _plain,
    "Dockerfile": _plain,
    "justfile": _plain,
    "known_hosts": _plain,
}


def parse(name: str | PurePath, text: str) -> object:
    """Return what a file holds, or None where nothing but a tool of its own reads it.

    Raises ValueError, or an error of the format's parser, where the file is broken. Raises
    KeyError for a format that has no parser here yet.
    """
    path = PurePath(name)
    known = _PARSERS.get(path.name) or _PARSERS[path.suffix]
    return known(text)


def untidiness(name: str | PurePath, text: str) -> Iterator[str]:
    """Yield what a careful writer would not have left in a file."""
    path = PurePath(name)
    if "\r" in text:
        yield "a carriage return"
    if "\t" in text:
        yield "a tab"
    if text and not re.search(r"[^\n]\n\Z", text):
        yield "not one newline at the end"
    if text.startswith("\n"):
        yield "an empty line at the start"
    if re.search(r"[ \t]+$", text, re.MULTILINE):
        yield "a space at the end of a line"
    if path.suffix not in {".py", ".mako"} and "\n\n\n" in text:
        yield "two empty lines in a row"
    # GitHub's expressions are ${{ }}, Renovate's {{ secrets.NAME }}, {{{name}}} and {{#if name}},
    # buildx's {{json .Image}}; justfile and Mako have braces of their own, and a template of
    # Django's is as good as Jinja.
    others = r"(?! secrets\.|\{\w+\}{3}|#if \w+\}\}|/if\}\}|(?:json|print) \.)"
    if path.suffix != ".html" and (
        found := re.search(rf"(?<![${{]){{{{{others}.*|{{%.*|(?<!{{){{#.*", text)
    ):
        yield f"Jinja: {found[0]}"
