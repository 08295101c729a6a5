"""A job loses nothing, wherever it is interrupted: proofs that run in generated projects.

They kill the job at every line of its code, which is more than a project's own tests should do.
Each is also seen to fail on a defect that it is there for.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.host_python import require_python
from helpers.postgresql import PostgresServer
from helpers.profiles import ROOT, Answers
from helpers.user_commands import Workshop, generate

pytestmark = pytest.mark.slow

PROOFS = ROOT / "tests" / "data" / "interruptions"

# The module of a proof, and the answers of the project in which it runs.
PROJECTS: dict[str, Answers] = {
    "files": {"framework": "job"},
    "rows": {"framework": "job", "database": "postgres"},
    "training": {"framework": "job", "base_image": "cuda"},
}


def proof(name: str) -> Path:
    """Return the module of a proof."""
    return PROOFS / f"test_interrupted_{name}.py"


def group(name: str) -> pytest.MarkDecorator:
    """Keep the tests of one project on one worker."""
    return pytest.mark.xdist_group(f"interrupted {name}")


class Defect(NamedTuple):
    """A text of a module, what takes its place, and the test that must notice."""

    module: str
    text: str
    planted: str
    test: str

    @property
    def name(self) -> str:
        """The name of the project and of the proof."""
        return self.module if self.module in PROJECTS else "files"

    @property
    def proof(self) -> Path:
        """The module of the proof."""
        return proof(self.name)


# What each proof is there for.
DEFECTS = {
    "a torn result is taken for a whole one": Defect(
        "files",
        '        if not entry.endswith(b"\\n"):\n            break  # A kill cut it short.\n',
        "",
        "test_an_entry_cut_at_any_byte_is_done_again",
    ),
    "what is torn is not cut off": Defect(
        "files",
        "    partial.truncate(size)\n",
        "",
        "test_an_entry_cut_at_any_byte_is_done_again",
    ),
    "results wait in a buffer": Defect(
        "files",
        "                partial.flush()\n",
        "",
        "test_at_any_instant_nothing_is_lost_and_nothing_doubled",
    ),
    "the output grows in place": Defect(
        "files",
        'f"{output}.new"',
        'f"{output}"',
        "test_at_any_instant_nothing_is_lost_and_nothing_doubled",
    ),
    "the results are dropped before the output is there": Defect(
        "files",
        "        os.replace(new.name, output)\n",
        "        partial.truncate(0)\n        os.replace(new.name, output)\n",
        "test_at_any_instant_nothing_is_lost_and_nothing_doubled",
    ),
    "any input fits": Defect(
        "files",
        "crc32(line + rest)",
        "int(checksum, 16)",
        "test_what_does_not_fit_is_refused_and_left_alone",
    ),
    "two runs write": Defect(
        "files",
        "            fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            fcntl.flock(partial, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        "test_lines_are_processed_as_they_arrive",
    ),
    "a signal breaks into a line": Defect(
        "runtime",
        "            self._busy = True\n",
        "",
        "test_at_any_instant_nothing_is_lost_and_nothing_doubled",
    ),
    "a signal waits for input": Defect(
        "runtime",
        "            self._busy = False\n",
        "",
        "test_lines_are_processed_as_they_arrive",
    ),
    "a checkpoint grows in place": Defect(
        "training",
        'new = path.with_name(f"{path.name}.new")',
        "new = path",
        "test_a_kill_at_any_instant_costs_the_steps_since_the_last_checkpoint",
    ),
    "a stop leaves no checkpoint": Defect(
        "training",
        "    except SystemExit:\n        save()\n        raise\n",
        "    except SystemExit:\n        raise\n",
        "test_a_stop_at_any_instant_costs_no_step",
    ),
}


@pytest.fixture(scope="session")
def job(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workshop]:
    """A function that returns the project for a proof, locked and installed once a session."""
    made: dict[str, Workshop] = {}

    def job(name: str) -> Workshop:
        if name not in made:
            answers = PROJECTS[name] | {"python_version": require_python().version}
            project = generate(template, tmp_path_factory.mktemp("job") / "my-service", answers)
            project.ok("uv lock")
            project.ok("uv sync --locked")
            made[name] = project
        return made[name]

    return job


def check(project: Workshop, name: str, **variables: str) -> None:
    """Run the proofs about a module in its project, and check their types."""
    copy = project.path / "tests" / proof(name).name
    with project.changed(copy, proof(name).read_text()):
        project.ok(f"uv run pytest -q --timeout 600 {shlex.quote(str(copy))}", **variables)
        project.ok("uv run mypy")


@pytest.mark.parametrize("name", [pytest.param(n, marks=group(n)) for n in PROJECTS])
def test_interruptions_cost_nothing(job: Callable[[str], Workshop], name: str) -> None:
    check(job(name), name)


@pytest.mark.docker
@group("rows")
def test_interruptions_cost_nothing_on_postgresql(
    job: Callable[[str], Workshop], postgresql: PostgresServer
) -> None:
    """There, copies of the job share the rows."""
    check(job("rows"), "rows", DATABASE_URL=postgresql.new_database())


def notices(project: Workshop, defect: Defect, **variables: str) -> None:
    """Check that a proof fails in a project that has a defect."""
    path = project.sources / f"{defect.module}.py"
    source = path.read_text()
    assert defect.text in source, "the defect has no place"
    copy = project.path / "tests" / defect.proof.name
    with (
        project.changed(copy, defect.proof.read_text()),
        project.changed(path, source.replace(defect.text, defect.planted)),
    ):
        options = f"-q --timeout 30 -x {shlex.quote(str(copy))} -k {defect.test}"
        project.fails(f"uv run pytest {options}", defect.test, **variables)


@pytest.mark.parametrize(
    "defect", [pytest.param(d, id=title, marks=group(d.name)) for title, d in DEFECTS.items()]
)
def test_a_defect_is_noticed(job: Callable[[str], Workshop], defect: Defect) -> None:
    notices(job(defect.name), defect)


@pytest.mark.docker
@group("rows")
def test_a_missing_lock_is_noticed_on_postgresql(
    job: Callable[[str], Workshop], postgresql: PostgresServer
) -> None:
    defect = Defect(
        "rows",
        "    .with_for_update(skip_locked=True)\n",
        "",
        "test_copies_side_by_side_share_the_rows",
    )
    notices(job("rows"), defect, DATABASE_URL=postgresql.new_database())
