"""Histories: the template in a repository with releases, and projects that follow them."""

import io
import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copier import run_copy, run_recopy, run_update

from helpers.commands import run
from helpers.rendering import Project

# The folders that an update never writes to, but for the starter code of a new answer.
OWN_FOLDERS = ("src", "tests", "migrations", "docs")


@dataclass(frozen=True)
class Repository:
    """A folder under git."""

    path: Path

    def git(self, *arguments: str) -> str:
        """Run git and return what it prints.

        Raises AssertionError when it fails.
        """
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        return run("git", *identity, *arguments, cwd=self.path)

    def commit(self, message: str = "Change") -> None:
        """Commit everything as it is, also where nothing changed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def edit(self, name: str | Path, old: str, new: str) -> None:
        """Replace the one place of a file that reads `old`."""
        text = self.read(name)
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))

    def read(self, name: str | Path) -> str:
        """Return the text of a file."""
        return (self.path / name).read_text()

    def write(self, name: str | Path, text: str) -> None:
        """Write a file."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    @property
    def changes(self) -> list[str]:
        """What differs from the last commit: lines of `git status`, untracked files included."""
        return self.git("status", "--porcelain", "--untracked-files=all").splitlines()


@dataclass(frozen=True)
class TemplateRepository(Repository):
    """The template with its releases. A project is made from the newest one."""

    def release(self, tag: str) -> None:
        """Commit everything as it is and give it a version."""
        self.commit(tag)
        self.git("tag", tag)

    def copy(
        self,
        destination: Path,
        answers: Mapping[str, Any] | None = None,
        release: str | None = None,
    ) -> "TrackedProject":
        """Make a project of a release, the newest by default, and commit it."""
        data = dict(answers or {})
        run_copy(str(self.path), destination, data=data, vcs_ref=release, defaults=True, quiet=True)
        project = TrackedProject(destination)
        project.git("init", "--quiet")
        project.commit("Start")
        return project


@dataclass(frozen=True)
class TrackedProject(Repository):
    """A generated project, committed."""

    def update(self, answers: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Commit what there is and take the newest release, without --trust and unasked.

        Returns what Copier says. Raises what Copier raises.
        """
        self.commit()
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            data = dict(answers or {})
            run_update(self.path, data=data, defaults=True, overwrite=True, **options)
        return said.getvalue()

    def recopy(self) -> None:
        """Commit what there is and have everything written anew."""
        self.commit()
        run_recopy(self.path, defaults=True, overwrite=True, quiet=True)

    @property
    def rendered(self) -> Project:
        """The project as the other tests see one."""
        return Project(self.path)

    @property
    def conflicts(self) -> list[str]:
        """The files that an update left in conflict, or whose changes it could not apply."""
        unmerged = self.git("diff", "--name-only", "--diff-filter=U").splitlines()
        return unmerged + [str(path) for path in self.path.rglob("*.rej")]

    @property
    def removed(self) -> list[str]:
        """The files of the last commit that an update took away."""
        return self.git("diff", "--name-only", "--diff-filter=D").splitlines()

    @property
    def bytes(self) -> dict[str, bytes]:
        """What is in each file that git does not ignore, by its name."""
        listed = self.git("ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate")
        paths = {name: self.path / name for name in listed.splitlines()}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    @property
    def contents(self) -> dict[str, str]:
        """The text of each file that git does not ignore, by its name."""
        return {name: content.decode() for name, content in self.bytes.items()}

    @property
    def code(self) -> dict[str, str]:
        """The part of the contents that is its owner's alone."""
        return {
            name: text for name, text in self.contents.items() if Path(name).parts[0] in OWN_FOLDERS
        }


def template_repository(snapshot: Path, destination: Path) -> TemplateRepository:
    """Put a copy of the template under git, its files released as v1.0.0."""
    shutil.copytree(snapshot, destination)
    repository = TemplateRepository(destination)
    repository.git("init", "--quiet")
    repository.release("v1.0.0")
    return repository
