"""The job in a container: killed in the middle, and taken up where it was."""

import json
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from helpers.built_projects import Stack
from helpers.docker_engine import STRICT, docker, docker_ok

ITEMS = [json.dumps({"id": str(number), "text": f"wave {number}"}) for number in range(200)]


@pytest.fixture
def volume() -> Iterator[str]:
    """A volume of the engine, for the job's output."""
    name = docker_ok("volume", "create").strip()
    yield name
    docker("volume", "rm", "--force", name)


def start(stack: Stack, volume: str, *options: str) -> tuple[str, "subprocess.Popen[str]"]:
    """Start the job on its standard input, as strictly as a platform may; return its name too."""
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    command = [
        "docker", "run", "--interactive", "--rm", "--name", name, *STRICT, "--network=none",
        f"--volume={volume}:/data", *options, stack.image().reference,
        "--output=/data/results.jsonl",
    ]  # fmt: skip
    job = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return name, job


def feed(job: "subprocess.Popen[str]", lines: list[str], *, pause: float = 0) -> None:
    """Write `lines` to the job's standard input, `pause` seconds apart."""
    assert job.stdin
    for line in lines:
        job.stdin.write(f"{line}\n")
        job.stdin.flush()
        time.sleep(pause)


def wait_until_started(job: "subprocess.Popen[str]") -> str:
    """Read the log until the job takes signals and input; return what it said so far."""
    assert job.stdout
    log = ""
    while '"started"' not in log and '"resumed"' not in log:
        line = job.stdout.readline()
        assert line, job.communicate()
        log += line
    return log


def wait_for_results(stack: Stack, volume: str) -> None:
    """Return once there are some results."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if "\n" in files(stack, volume).get("results.jsonl.partial", ""):
            return
    raise AssertionError("no result after 30 s")


def end_input(job: "subprocess.Popen[str]") -> None:
    """Close the job's standard input."""
    assert job.stdin
    job.stdin.close()
    job.stdin = None


def files(stack: Stack, volume: str) -> dict[str, str]:
    """Return the names and contents of the files in the volume."""
    code = (
        "import json, pathlib; found = pathlib.Path('/data').iterdir();"
        "print(json.dumps({path.name: path.read_text() for path in found}))"
    )
    text = docker_ok(
        "run", "--rm", f"--volume={volume}:/data", "--entrypoint=python",
        stack.image().reference, "-c", code,
    )  # fmt: skip
    found: dict[str, str] = json.loads(text)
    return found


@pytest.mark.stacks("job-none")
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_job_killed_in_the_middle_resumes(stack: Stack, volume: str, signal: str) -> None:
    name, job = start(stack, volume)
    log = wait_until_started(job)
    feed(job, ITEMS[:60], pause=0.02)
    wait_for_results(stack, volume)
    docker_ok("kill", f"--signal={signal}", name)
    log += job.communicate()[0]
    assert job.returncode == {"TERM": 143, "KILL": 137}[signal]
    for line in log.splitlines():
        assert isinstance(json.loads(line), dict), line

    left = files(stack, volume)
    assert "results.jsonl" not in left
    done = left["results.jsonl.partial"].count("\n")
    assert 0 < done <= 60
    if signal == "TERM":
        assert left["results.jsonl.partial"].endswith("\n")

    _, job = start(stack, volume)
    feed(job, ITEMS)
    log, errors = job.communicate()
    assert job.returncode == 0, log + errors
    assert f'"lines": {done}' in next(line for line in log.splitlines() if "resumed" in line)
    left = files(stack, volume)
    assert set(left) == {"results.jsonl"}
    results = [json.loads(line) for line in left["results.jsonl"].splitlines()]
    assert [result["id"] for result in results] == [str(number) for number in range(len(ITEMS))]


@pytest.mark.stacks("job-none")
def test_job_refuses_to_resume_with_another_input(stack: Stack, volume: str) -> None:
    name, job = start(stack, volume)
    wait_until_started(job)
    feed(job, ITEMS[:20], pause=0.02)
    wait_for_results(stack, volume)
    docker_ok("kill", "--signal=TERM", name)
    job.communicate()
    before = files(stack, volume)

    _, job = start(stack, volume)
    feed(job, list(reversed(ITEMS)))
    _, errors = job.communicate()
    assert job.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "belongs to another input" in errors
    assert files(stack, volume) == before


class Composed:
    """The job and its database, started by compose apart from every other project."""

    def __init__(self, stack: Stack) -> None:
        self.name = f"slipway-test-{uuid.uuid4().hex[:12]}"
        self._folder = stack.project

    def compose(self, *arguments: str) -> str:
        """Return what `docker compose` printed. Raises AssertionError when it fails."""
        return docker_ok("compose", "--project-name", self.name, *arguments, cwd=self._folder)

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start a copy of the job in a container of that name."""
        command = [
            "docker", "compose", "--project-name", self.name, "run", "--rm", "-T",
            "--name", f"{self.name}-{name}", "job", *arguments,
        ]  # fmt: skip
        return subprocess.Popen(
            command,
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self, name: str) -> None:
        """Kill a copy at once."""
        docker_ok("kill", "--signal=KILL", f"{self.name}-{name}")

    def rows(self, condition: str) -> set[str]:
        """Return id and time of the items for which an SQL condition holds."""
        query = f"SELECT key, processed_at FROM items WHERE {condition}"
        return set(
            self.compose(
                "exec", "-T", "database", "psql", "--username=app", "--tuples-only",
                "--no-align", f"--command={query}",
            ).split("\n")[:-1]
        )  # fmt: skip


@pytest.fixture
def composed(stack: Stack) -> Iterator[Composed]:
    """The job and its database, removed afterwards."""
    composed = Composed(stack)
    composed.compose("up", "--build", "--wait", "database")
    composed.compose("run", "--build", "--rm", "migrate")
    yield composed
    composed.compose("down", "--volumes", "--rmi=local")


@pytest.mark.stacks("job-postgres")
def test_job_killed_in_the_middle_loses_and_repeats_no_row(composed: Composed) -> None:
    lines = [json.dumps({"id": str(number), "text": f"wave {number}"}) for number in range(3000)]

    # Killed while it loads: the same input adds only what is missing.
    loader = composed.start("loader", "--input=-")
    feed(loader, lines[:100])
    while len(composed.rows("TRUE")) < 100:
        assert loader.poll() is None, loader.communicate()[0]
    composed.kill("loader")
    loader.communicate()
    assert len(composed.rows("processed_at IS NULL")) == 100

    # Killed while it works, with another copy beside it.
    victim = composed.start("victim", "--input=-")
    feed(victim, lines)
    end_input(victim)
    while not (done := composed.rows("processed_at IS NOT NULL")):
        assert victim.poll() is None
    composed.kill("victim")
    victim.communicate()
    done = composed.rows("processed_at IS NOT NULL")
    assert len(composed.rows("TRUE")) == 3000
    assert 0 < len(done) < 3000

    copies = [composed.start("one"), composed.start("two")]
    for copy in copies:
        output, _ = copy.communicate()
        assert copy.returncode == 0, output
    finished = composed.rows("result IS NOT NULL AND error IS NULL")
    assert len(finished) == 3000
    assert done <= finished
