"""The tutorial and the guide to an address of the template work as they are written.

The tutorial's part on containers is tried in `containers/test_tutorial_containers.py`.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from helpers.commands import attempt
from helpers.git_repositories import TemplateRepository, TrackedProject, template_repository
from helpers.markdown_commands import newcomer, read, section, steps, tutorial
from helpers.rendering import ANSWERS_FILE
from helpers.user_commands import Workshop, free_port, generate

pytestmark = pytest.mark.slow

# It does not end by itself.
SERVER = "uv run manage.py runserver"


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> TemplateRepository:
    """The template with a release."""
    return template_repository(template, tmp_path / "slipway")


def test_the_tutorial_works_as_written(releases: TemplateRepository, tmp_path: Path) -> None:
    """On the host, up to a model of one's own in the admin."""
    lines = tutorial("Make a project", "Run it", "Test and commit", "Add a model")
    lines.remove(SERVER)
    newcomer(str(releases.path), tmp_path).follow(lines)
    project = TrackedProject(tmp_path / "tide-tables")
    assert project.changes == []
    assert (project.path / "src/tide_tables/harbors/migrations/0001_initial.py").exists()
    port = free_port()
    page = f"http://127.0.0.1:{port}/admin/login/"
    workshop = Workshop(project.rendered, "")
    assert "Log in" in workshop.served(f"cd {project.path} && {SERVER} {port}", page)


def test_a_project_moves_to_an_address(releases: TemplateRepository, tmp_path: Path) -> None:
    """By the guides' commands; then the folder that it came from may go."""
    push_and_copy = steps(section(read("hosting"), "Give it an address"))
    move = [*steps(section(read("keeping-up"), "A template that moved")), "uvx copier check-update"]
    releases.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "team.git"))
    address = f"file://{tmp_path}/team.git"
    project = releases.copy(tmp_path / "harbor")
    assert f"_src_path: {releases.path}\n" in project.read(ANSWERS_FILE)

    newcomer(address, releases.path).follow(push_and_copy)
    made = TrackedProject(releases.path / "my-service")
    assert f"_src_path: {address}\n" in made.read(ANSWERS_FILE)

    shutil.move(releases.path, tmp_path / "gone")
    said = newcomer(address, project.path).follow(move)
    assert "up-to-date" in said
    assert project.changes == []


def test_a_copy_from_a_folder_says_that_others_need_an_address(
    releases: TemplateRepository, tmp_path: Path
) -> None:
    folder = str(releases.path)
    for name, answers in ("new", {}), ("adopted", {"adopt": True}):
        message = generate(releases.path, tmp_path / name, answers).message
        said = " ".join(message.partition("The template came from")[2].split())
        assert said.startswith("a folder on this machine. Updates by CI, bots, and colleagues need")
        assert said.endswith(f".copier-answers.yml in place of this folder: _src_path: {folder}")


def test_a_copy_from_an_address_says_nothing_of_it(
    releases: TemplateRepository, tmp_path: Path
) -> None:
    """The address leads to the folder by git's configuration, which Copier does not see."""
    address = "https://git.example.com/acme/slipway.git"
    config = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{releases.path}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    copier = (sys.executable, "-m", "copier", "copy", "--defaults")
    made = attempt(*copier, address, tmp_path / "new", env=os.environ | config)
    assert f"_src_path: {address}\n" in (tmp_path / "new" / ANSWERS_FILE).read_text()
    assert "Or in containers" in made.stderr
    assert "The template came from" not in made.stderr
