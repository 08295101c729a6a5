"""The site in docs/: it builds without a warning, has each page, and its reference is up to date."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import Completed, attempt, tool
from helpers.profiles import ROOT
from helpers.questions_page import PAGE, asked, page
from helpers.rendering import Render

DOCS = ROOT / "docs"
SETTINGS = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A copy of what the site is built from."""
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    return tmp_path


def build(folder: Path) -> Completed:
    """Build a site as strictly as CI does."""
    return attempt(tool("zensical"), "build", "--strict", cwd=folder, merged=True)


def test_the_site_builds_without_a_warning(site: Path) -> None:
    built = build(site)
    assert built.returncode == 0, built.stdout
    assert "No issues found" in built.stdout
    names = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert {path.parent.name for path in site.glob("site/*/index.html")} == names


def test_broken_links_are_noticed(site: Path) -> None:
    page = site / "docs" / "index.md"
    links = "".join(f"[{link}]({link})\n" for link in ("no.md", "ci.md#no", "../README.md"))
    page.write_text(f"{page.read_text()}\n{links}")
    built = build(site)
    assert built.returncode != 0
    assert "3 issues found" in built.stdout


def pages(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the pages of a navigation."""
    for entry in entries:
        for target in entry.values():
            if isinstance(target, str):
                yield target
            else:
                yield from pages(target)


def test_the_navigation_has_each_page_once() -> None:
    assert sorted(pages(SETTINGS["nav"])) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.slow
def test_the_reference_of_questions_is_made_from_copier_yml(render: Render) -> None:
    again = "uv run --directory tests python -m helpers.questions_page"
    assert PAGE.read_text() == page(render), f"write it again: {again}"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (True, "always"),
        (False, "never: `-d`"),
        ("{{ customize }}", "with `customize`"),
        (
            "{{ customize and base_image == 'ubuntu' }}",
            "with `customize` and `base_image=ubuntu`",
        ),
        ("{{ ci != 'none' }}", "with `ci` other than `none`"),
        ("{{ ci in ['github', 'gitlab'] }}", "with `ci=github` or `ci=gitlab`"),
    ],
)
def test_the_reference_says_when_a_question_is_asked(condition: str | bool, words: str) -> None:
    assert asked(condition) == words


def test_the_reference_does_not_guess() -> None:
    with pytest.raises(ValueError, match="no words"):
        asked("{{ ci | length > 3 }}")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"])
def test_links_of_other_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", document.read_text())
    for link, _ in links:
        # On GitHub the second leads to a page of the repository that is no file.
        if not link.startswith(("https://", "../../security/")):
            assert (document.parent / link).exists(), link


def test_the_readme_leads_to_the_site_within_two_screens() -> None:
    before, found, _ = (ROOT / "README.md").read_text().partition("](docs/")
    assert found
    assert before.count("\n") < 2 * 24
