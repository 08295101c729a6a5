"""This repository keeps its own rules: the tests are code too, and each pin stands once."""

import os
import re
from pathlib import Path

import pytest
from packaging.version import Version

from helpers.commands import run, tool
from helpers.profiles import QUESTIONNAIRE, ROOT, SETTINGS

TESTS = ROOT / "tests"
FOLDERS = [TESTS, TESTS / "helpers", TESTS / "ci", TESTS / "containers"]


def test_ruff_finds_nothing() -> None:
    run(tool("ruff"), "check", "--no-cache", cwd=ROOT)


def test_ruff_would_change_nothing() -> None:
    run(tool("ruff"), "format", "--diff", "--no-cache", cwd=ROOT)


@pytest.mark.slow
def test_types_are_right(tmp_path: Path) -> None:
    # A cache of its own: processes that write to one at the same time break it.
    cache = f"--cache-dir={tmp_path}"
    run(tool("mypy"), "--no-error-summary", cache, "tests", cwd=ROOT)


@pytest.mark.slow
def test_types_of_scripts_are_right(tmp_path: Path) -> None:
    """Scripts of a generated project that its own type checker does not look at."""
    scripts = [
        str(ROOT / "template/project" / name)
        for name in ("adopt.py", "ci/check_pins.py", "ci/check_private.py")
    ]
    cache = f"--cache-dir={tmp_path}"
    run(tool("mypy"), "--no-error-summary", cache, *scripts, cwd=ROOT)


@pytest.mark.parametrize("question", ["uv_version", "python_version"])
def test_a_pin_stands_in_copier_yml_alone(question: str) -> None:
    details = QUESTIONNAIRE.details[question]
    versions = details.get("choices", [details["default"]])
    pin = re.compile("|".join(rf"(?<![\d.]){re.escape(version)}(?![\d])" for version in versions))
    template = [path for path in (ROOT / "template").rglob("*") if path.is_file()]
    found = [str(path.relative_to(ROOT)) for path in template if pin.search(path.read_text())]
    assert found == []


def test_the_tests_take_the_oldest_copier_that_projects_may_use() -> None:
    """9.19.0 cannot copy with the git of Debian 12: 2.39 does not know `checkout --end-of-options`."""
    oldest = SETTINGS["_min_copier_version"]
    assert f'"copier>={oldest},<' in (ROOT / "pyproject.toml").read_text()
    assert Version(oldest) >= Version("9.19.1")


def test_the_map_of_the_tests_has_each_module() -> None:
    listed = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", (TESTS / "README.md").read_text()))
    modules = [path for folder in FOLDERS for path in folder.glob("test_*.py")]
    assert listed == {str(path.relative_to(TESTS)) for path in modules}


def test_no_two_modules_of_the_tests_have_nearly_the_same_name() -> None:
    names = [path.stem for folder in FOLDERS for path in folder.glob("*.py")]
    assert len(names) == len(set(names))
    assert [name for name in names if f"{name}s" in names] == []


@pytest.mark.xdist_group("a group")
def test_a_group_of_tests_stays_on_one_worker(request: pytest.FixtureRequest) -> None:
    """Where it does not, fixtures that a group shares are made by each worker."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("no workers")
    assert request.node.nodeid.endswith("@a group")
