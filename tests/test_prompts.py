"""The questions as people meet them: the real command line in a terminal of 80 by 24."""

import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

from helpers.commands import attempt
from helpers.profiles import QUESTIONNAIRE, ROOT
from helpers.rendering import Project, Render, refusal

COLUMNS, LINES = 80, 24
# For each thing that is waited for; slow machines need a good part of it.
TIMEOUT = 30

ENTER, SPACE, DOWN, CTRL_C = "\r", " ", "\x1b[B", "\x03"
# Empties the line, as the cursor is at its end.
CTRL_U = "\x15"

# The first line of each question; advice follows in the next one.
HELP: dict[str, str] = {
    name: details["help"].splitlines()[0] for name, details in QUESTIONNAIRE.details.items()
}
COPIER = (sys.executable, "-m", "copier", "copy")

# The table in the reference says when each is asked.
REFERENCE = (ROOT / "docs/questions.md").read_text().partition("\n## ")[0]
ASKED = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", REFERENCE, re.MULTILINE))
ALWAYS = [name for name, asked in ASKED.items() if asked == "always"]
CUSTOMIZED = [name for name, asked in ASKED.items() if asked == "with `customize`"]

# Questions whose answer is typed.
TYPED = [name for name in ALWAYS + CUSTOMIZED if name not in {q.name for q in QUESTIONNAIRE.closed}]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody without settings of their own, whose home is `home`."""
    return os.environ | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color",
    }


class Screen(pyte.Screen):
    """A terminal's screen, which tells a program where the cursor is when asked."""

    def __init__(self, device: int) -> None:
        """Answer on the pseudo-terminal behind the descriptor `device`."""
        super().__init__(COLUMNS, LINES)
        self._device = device

    def write_process_input(self, data: str) -> None:
        """Send what the terminal itself has to say."""
        os.write(self._device, data.encode())


class Terminal:
    """A terminal in which `copier copy` runs."""

    def __init__(self, process: subprocess.Popen[bytes], device: int) -> None:
        """Show what `process` writes to the pseudo-terminal behind the descriptor `device`."""
        self._process = process
        self._device = device
        self._screen = Screen(device)
        self._stream = pyte.ByteStream(self._screen)
        # The questions that were on the screen, in the order in which they came.
        self.asked: list[str] = []

    @property
    def lines(self) -> list[str]:
        """The lines on the screen."""
        return [line.rstrip() for line in self._screen.display]

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._device, keys.encode())

    def see(self, text: str) -> None:
        """Wait until a line of the screen ends in `text`."""
        deadline = time.monotonic() + TIMEOUT
        while not any(line.endswith(text) for line in self.lines):
            assert self._read(deadline), f"{text!r} is not on the screen:\n" + "\n".join(self.lines)

    def answer(self, name: str, keys: str = ENTER) -> None:
        """Wait for a question, then press keys."""
        self.see(f"🎤 {HELP[name]}")
        self.send(keys)

    def leave(self) -> int:
        """Wait for the end and return the exit status."""
        deadline = time.monotonic() + TIMEOUT
        while self._read(deadline):
            pass
        return self._process.wait(TIMEOUT)

    def _read(self, deadline: float) -> bool:
        """Show what comes next; return False when nothing comes any more.

        Raises AssertionError where the deadline passes first.
        """
        left = max(0, deadline - time.monotonic())
        ready, _, _ = select.select([self._device], [], [], left)
        assert ready, "it took too long; the screen:\n" + "\n".join(self.lines)
        try:
            shown = os.read(self._device, 65536)
        except OSError:  # Linux's way to say that no process has the terminal open.
            return False
        self._stream.feed(shown)
        questions = [line.removeprefix("🎤 ") for line in self.lines if line.startswith("🎤 ")]
        self.asked += [question for question in questions if question not in self.asked]
        return bool(shown)


@contextmanager
def copying(template: Path, destination: Path, *options: str) -> Iterator[Terminal]:
    """Run `copier copy` with some options in a terminal; it is gone at the end of the block."""
    # Not pexpect: it forks, which Python warns of in the workers of a parallel run.
    device, stdio = os.openpty()
    try:
        termios.tcsetwinsize(stdio, (LINES, COLUMNS))
        process = subprocess.Popen(
            [*COPIER, *options, template, destination],
            stdin=stdio,
            stdout=stdio,
            stderr=stdio,
            env=environment(destination.parent),
            cwd=destination.parent,
            start_new_session=True,
        )
    finally:
        os.close(stdio)
    try:
        yield Terminal(process, device)
    finally:
        process.kill()
        process.wait()
        os.close(device)


def contents(project: Project) -> Mapping[Path, bytes]:
    """Return each file of a project with its bytes."""
    return {name: (project.path / name).read_bytes() for name in project.files}


def only(name: str) -> list[str]:
    """Return the options that leave a single question to be asked."""
    return ["--quiet", "--defaults", "--ask", name]


def test_answers_make_the_project(template: Path, tmp_path: Path, render: Render) -> None:
    folder = tmp_path / "anything"
    with copying(template, folder) as terminal:
        terminal.answer("project_name", CTRL_U + "Notes API" + ENTER)
        terminal.answer("framework", DOWN + ENTER)
        terminal.answer("database")
        terminal.answer("base_image")
        terminal.answer("dependency_groups")
        terminal.answer("ci")
        terminal.answer("private_dependencies")
        terminal.answer("customize")
        assert terminal.leave() == 0
    # The same order of answers as that of the questions.
    expected = render(adopt=False, project_name="Notes API", framework="fastapi")
    assert contents(Project(folder)) == contents(expected)


def test_the_questions_of_the_readme_are_asked(template: Path, tmp_path: Path) -> None:
    with copying(template, tmp_path / "my-service", "--quiet") as terminal:
        for name in ALWAYS:
            terminal.answer(name)
        assert terminal.leave() == 0
        assert terminal.asked == [HELP[name] for name in ALWAYS]
    assert Project(tmp_path / "my-service").answers["project_name"] == "My Service"


def test_each_question_gives_advice_on_lines_that_fit() -> None:
    never = {name for name, asked in ASKED.items() if asked.startswith("never")}
    for name in set(HELP) - never:
        first, *advice = QUESTIONNAIRE.details[name]["help"].splitlines()
        assert advice, name
        # The prompt starts with an emoji of two columns and a space.
        assert len(first) < COLUMNS - 3, name
        assert [line for line in advice if len(line) >= COLUMNS and "{%" not in line] == []
        assert advice[-1].startswith("   "), name
        assert advice[-1].endswith("."), name


def test_the_reference_lists_the_questions_and_the_readme_counts_them() -> None:
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"]
    assert set(ASKED) == set(HELP)
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"asks {numbers[len(ALWAYS)]} questions" in readme


def test_customize_asks_the_rest(template: Path, tmp_path: Path) -> None:
    package, description = "notes", 'The "best" \\ {{ tool }}, naïve 🚀'
    with copying(template, tmp_path / "my-service", "--quiet") as terminal:
        for name in ALWAYS:
            terminal.answer(name, "y" if name == "customize" else ENTER)
        terminal.answer("package_name", CTRL_U + package + ENTER)
        terminal.answer("description", CTRL_U + description + ENTER)
        terminal.answer("python_version", DOWN + ENTER)
        terminal.answer("image_layout", DOWN + ENTER)
        terminal.answer("runtime_packages", "gdal-bin, libpango-1.0-0" + ENTER)
        terminal.answer("build_packages", "build-essential" + ENTER)
        terminal.answer("update_bot", DOWN + ENTER)
        terminal.answer("agents", "n")
        assert terminal.leave() == 0
        assert terminal.asked == [HELP[name] for name in ALWAYS + CUSTOMIZED]
    answers = Project(tmp_path / "my-service").answers
    packages = ["gdal-bin, libpango-1.0-0", "build-essential"]
    expected = [package, description, "3.13", "single-stage", *packages, "dependabot", False]
    assert [answers[name] for name in CUSTOMIZED] == expected


def test_groups_are_switched_with_space(template: Path, tmp_path: Path) -> None:
    with copying(template, tmp_path / "my-service", *only("dependency_groups")) as terminal:
        terminal.see("● test      pytest and coverage")
        terminal.send(SPACE)
        terminal.see("○ test      pytest and coverage")
        terminal.send(3 * DOWN + SPACE)
        terminal.see("● docs      a documentation site")
        terminal.send(ENTER)
        assert terminal.leave() == 0
    answers = Project(tmp_path / "my-service").answers
    assert answers["dependency_groups"] == ["quality", "dev", "docs"]


@pytest.mark.parametrize(
    ("framework", "disabled", "labels", "chosen"),
    [
        ("django", "None (Django needs one)", ("PostgreSQL", "SQLite"), "sqlite"),
        ("fastapi", "SQLite (with Django only)", ("PostgreSQL", "None"), "none"),
    ],
)
def test_what_does_not_go_together_cannot_be_chosen(
    framework: str,
    disabled: str,
    labels: tuple[str, str],
    chosen: str,
    template: Path,
    tmp_path: Path,
) -> None:
    options = [*only("database"), "-d", f"framework={framework}"]
    with copying(template, tmp_path / "my-service", *options) as terminal:
        terminal.see(f"   - {disabled}")
        # Once round the list and on to its second entry.
        for label in (labels * 2)[:3]:
            terminal.see(f" » {label}")
            terminal.send(DOWN)
        terminal.see(f" » {labels[1]}")
        terminal.send(ENTER)
        assert terminal.leave() == 0
    assert Project(tmp_path / "my-service").answers["database"] == chosen


def test_a_mistake_can_be_corrected(template: Path, tmp_path: Path) -> None:
    with copying(template, tmp_path / "my-service", "--quiet") as terminal:
        for name in ALWAYS:
            terminal.answer(name, "y" if name == "customize" else ENTER)
        terminal.answer("package_name", CTRL_U + "class" + ENTER)
        terminal.see("Validation error for question 'package_name': class is taken")
        terminal.send("es" + ENTER)
        for name in CUSTOMIZED[1:]:
            terminal.answer(name)
        assert terminal.leave() == 0
    assert Project(tmp_path / "my-service").answers["package_name"] == "classes"


@pytest.mark.parametrize("name", TYPED)
def test_a_refusal_can_be_read_in_full(name: str, template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my-service"
    with copying(template, folder, *only(name)) as terminal:
        terminal.see(f"🎤 {HELP[name]}")
        # A line break can only be pasted.
        for text, keys in ("x" * 201, "x" * 201), ("one\ntwo", "\x1b[200~one\ntwo\x1b[201~"):
            refused = refusal(template, tmp_path / "refused", {name: text})
            assert refused, text
            terminal.send(CTRL_U + keys + ENTER)
            terminal.see(f"Validation error for question '{name}': {refused[1]}")
        terminal.send(CTRL_C)
        assert terminal.leave() == 1
    assert not folder.exists()


def test_an_interruption_at_the_first_question_leaves_nothing(
    template: Path, tmp_path: Path
) -> None:
    with copying(template, tmp_path / "my-service") as terminal:
        terminal.answer(ALWAYS[0], CTRL_C)
        terminal.see("Execution stopped by user")
        assert terminal.leave() == 1
    assert not (tmp_path / "my-service").exists()


def test_an_interruption_at_the_last_question_leaves_a_folder_as_it_was(
    template: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my-service"
    folder.mkdir()
    (folder / "README.md").write_text("Mine.")
    with copying(template, folder) as terminal:
        for name in ALWAYS[:-1]:
            terminal.answer(name)
        terminal.answer(ALWAYS[-1], CTRL_C)
        terminal.see("Execution stopped by user")
        assert terminal.leave() == 1
    assert contents(Project(folder)) == {Path("README.md"): b"Mine."}


def test_defaults_ask_nothing(template: Path, tmp_path: Path, render: Render) -> None:
    folder = tmp_path / "my-service"
    with copying(template, folder, "--defaults", "--quiet") as terminal:
        assert terminal.leave() == 0
        assert not terminal.asked
    assert contents(Project(folder)) == contents(render())


def test_without_a_terminal_one_line_says_what_is_missing(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my-service"
    run = attempt(*COPIER, template, folder, env=environment(tmp_path), timeout=TIMEOUT)
    # The prompts' library remarks on its own that it was given no terminal.
    said = [line for line in run.stderr.splitlines() if "Input is not a terminal" not in line]
    assert len(said) == 1
    assert said[0].startswith("Interactive session required: Use `--defaults`")
    assert (run.returncode, run.stdout) == (1, "")
    assert not (tmp_path / "my-service").exists()
