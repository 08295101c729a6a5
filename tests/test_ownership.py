"""What the template owns works without what the user owns, whose modules may get other names.

An update merges the template's files. They may name the modules that start the application, and
no others of the package.
"""

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from helpers.rendering import Project

# The folders that no update changes.
USERS = {"docs", "migrations", "src", "tests"}

# The modules that commands start, and Django's settings: the interface between the two owners.
ENTRY_POINTS = {"__main__", "main", "mypy_settings", "settings", "wsgi"}

# Text for people may name any file.
DOCUMENTS = {"README.md"}

# In pyproject.toml: which files coverage leaves out. Without the file, nothing is left out.
OMITTED = re.compile(r'^omit = \["src/\w+/\w+\.py"\]$', re.MULTILINE)


def imported_modules(source: str, package: str) -> set[str]:
    """Return the modules of a package that Python source imports or names in a string.

    They are relative to the package, which itself is "". Names that are imported from a module
    count as modules, since the source does not show what they are.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {module} | {f"{module}.{name.name}" for name in names}
            case ast.ImportFrom(level=level) if level > 0:
                raise AssertionError(f"a relative import in line {node.lineno}")
            case ast.Constant(value=str(text)):
                found |= set(re.findall(rf"\b{package}(?:\.\w+)*\b", text))
    ours = {name for name in found if name == package or name.startswith(f"{package}.")}
    return {name.removeprefix(package).removeprefix(".") for name in ours}


def mentioned_modules(text: str, package: str) -> Iterator[str]:
    """Yield the modules of a package that a file which is not Python names, dotted or as a path."""
    yield from re.findall(rf"\b{package}\.(\w+)", text)
    yield from re.findall(rf"\bsrc/{package}/([\w/]+)\.py\b", text)


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import my_service", {""}),
        ("import my_service.logs as l", {"logs"}),
        ("from my_service import logs", {"", "logs"}),
        ("def f():\n    from my_service.logs import configure", {"logs", "logs.configure"}),
        ('import_module("my_service.logs")', {"logs"}),
        ('logger_class = "my_service.logs.Logger"', {"logs.Logger"}),
        ('f"{x} my_service.device:find"', {"device"}),
        ('import my_services, logs\nname = "logs"', set()),
    ],
)
def test_an_import_is_found(source: str, modules: set[str]) -> None:
    assert imported_modules(source, "my_service") == modules


def test_a_mentioned_module_is_found() -> None:
    text = "CMD my_service.wsgi, my_service.logs:x src/my_service/api/health.py my_service_x.y"
    assert [*mentioned_modules(text, "my_service")] == ["wsgi", "logs", "api/health"]


def test_the_template_needs_only_entry_points(project: Project) -> None:
    package = project.answers["package_name"]
    for file in project.files:
        if file.parts[0] in USERS or file.name in DOCUMENTS:
            continue
        text = project.read(file)
        if file.suffix == ".py":
            assert imported_modules(text, package) <= ENTRY_POINTS, file
        else:
            assert {*mentioned_modules(OMITTED.sub("", text), package)} <= ENTRY_POINTS, file


def test_gunicorn_needs_no_other_package(project: Project) -> None:
    """Not even one that the project may replace, such as structlog."""
    if "gunicorn.conf.py" in {str(file) for file in project.files}:
        tree = ast.parse(project.read("gunicorn.conf.py"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        assert imports
        assert {n.name for node in imports for n in node.names} <= sys.stdlib_module_names
        assert "os.environ[" not in ast.unparse(tree)
