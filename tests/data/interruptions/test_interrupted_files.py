"""Proofs about files.py: a job that is interrupted anywhere, a full disk, a second run."""

import fcntl
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from rich.progress import Progress

from my_service import files, logs, runtime
from my_service.__main__ import main

PACKAGE = "my_service"
COMMAND = [sys.executable, "-m", PACKAGE]
REJECTED = {"line": 2, "error": "negative"}


class Number(BaseModel):
    value: int


class Square(BaseModel):
    square: int


class Job:
    """The job with other work: squares, and a disturbance before each. It counts its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.partial = folder / "out.jsonl.partial"
        self.calls = mmap(-1, 1)  # Shared with the processes that are killed.
        self.disturb: Callable[[], object] = lambda: None

    def process(self, item: Number) -> Square:
        self.calls[0] += 1
        self.disturb()
        if item.value < 0:
            raise ValueError("negative")
        return Square(square=item.value**2)

    def run(self, *options: str) -> int:
        return main(["--input", str(self.input), "--output", str(self.output), *options])

    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def results(self) -> list[Any]:
        """Return the rows of the output, which must be all that the run has left."""
        assert {path.name for path in self.folder.iterdir()} == {"in.jsonl", "out.jsonl"}
        return self.rows()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    folder = tmp_path / "job"
    folder.mkdir()
    job = Job(folder)
    monkeypatch.setattr(files, "Item", Number)
    monkeypatch.setattr(files, "process", job.process)
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield job
    for number, handler in handlers.items():
        signal.signal(number, handler)


def interrupted(job: Job, number: signal.Signals, step: int) -> int:
    """Run the job in a process that gets a signal after so many lines of code, if there are as many.

    Return its exit status, or the signal that killed it as a negative number.
    """
    child = os.fork()
    if child == 0:
        steps = iter(range(step))
        sent = False

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal sent
            if frame.f_code.co_filename not in (files.__file__, runtime.__file__):
                return None
            if event == "line" and not sent and next(steps, None) is None:
                sent = True
                os.kill(os.getpid(), number)
            return trace

        status = 1
        try:
            sys.settrace(trace)
            status = job.run()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_at_any_instant_nothing_is_lost_and_nothing_doubled(
    job: Job, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    job.input.write_text('{"value": 2}\n{"value": -1}\n')
    answers = [{"square": 4}, REJECTED]
    monkeypatch.setattr(os, "fsync", lambda _: None)
    job.output.write_text("0")
    step = 0
    while (status := interrupted(job, number, step)) != 65:
        assert status == -number or (number == signal.SIGTERM and status == 143)
        assert job.rows() in ([0], answers)
        published = job.rows() == answers
        calls = job.calls[0]
        assert job.run() == 65
        assert job.results() == answers
        if not published:
            again = job.calls[0] - 2
            assert again <= (number == signal.SIGKILL), f"step {step}: {again} lines done again"
        assert calls <= 2
        job.calls[0] = 0
        job.output.write_text("0")
        step += 1

    assert step > 80
    assert job.rows() == answers


def test_an_entry_cut_at_any_byte_is_done_again(job: Job) -> None:
    job.input.write_text('{"value": 2}\n{"value": -1}\n{"value": 3}\n')
    job.disturb = lambda: signal.raise_signal(signal.SIGTERM) if job.calls[0] == 2 else None
    with pytest.raises(SystemExit, match="143"):
        job.run()
    entries = job.partial.read_bytes()
    assert entries.count(b"\n") == 2
    job.disturb = lambda: None
    for size in range(len(entries) + 1):
        job.partial.write_bytes(entries[:size])
        job.calls[0] = 0
        assert job.run() == 65
        assert job.results() == [{"square": 4}, REJECTED, {"square": 9}]
        assert job.calls[0] == 3 - entries[:size].count(b"\n")


def change_first_line(job: Job) -> None:
    job.input.write_text(job.input.read_text().replace("2", "7", 1))


def change_last_line(job: Job) -> None:
    job.input.write_text(job.input.read_text().replace("-1", "-2"))


def shorten_input(job: Job) -> None:
    job.input.write_text(job.input.read_text().splitlines()[0] + "\n")


def damage_result(job: Job) -> None:
    job.partial.write_bytes(job.partial.read_bytes().replace(b"4", b"5", 1))


def damage_partial(job: Job) -> None:
    job.partial.write_bytes(b"\0\n" + job.partial.read_bytes())


@pytest.mark.parametrize(
    "change", [change_first_line, change_last_line, shorten_input, damage_result, damage_partial]
)
def test_what_does_not_fit_is_refused_and_left_alone(
    job: Job, change: Callable[[Job], None]
) -> None:
    job.input.write_text('{"value": 2}\n{"value": -1}\n')
    job.disturb = lambda: signal.raise_signal(signal.SIGTERM) if job.calls[0] == 2 else None
    with pytest.raises(SystemExit, match="143"):
        job.run()
    job.disturb = lambda: None
    change(job)
    before = job.partial.read_bytes()

    with pytest.raises(SystemExit, match=r"^\S+ belongs to another input: [^\n]*--restart\.$"):
        job.run()
    assert job.partial.read_bytes() == before
    assert not job.output.exists()


def test_a_failure_of_the_work_names_the_line_and_loses_nothing(job: Job) -> None:
    job.input.write_text('{"value": 2}\n{"value": 3}\n')

    def fail() -> None:
        if job.calls[0] == 2:
            raise ConnectionError("gone")

    job.disturb = fail
    with pytest.raises(RuntimeError, match="line 2 failed") as failure:
        job.run()
    assert isinstance(failure.value.__cause__, ConnectionError)
    job.disturb = lambda: None
    assert job.run() == 0
    assert job.calls[0] == 3
    assert job.results() == [{"square": 4}, {"square": 9}]


def test_a_folder_is_no_output(job: Job) -> None:
    job.input.write_text("")
    job.output.mkdir()
    with pytest.raises(SystemExit, match=r"^\S+ is a folder: name a file in it\.$"):
        job.run()


WORDS = '{"id": "1", "text": "ebb and flow"}\n'


def test_a_full_disk_is_named_in_one_line_and_the_work_continues(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: write(2) fails in the same place."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(WORDS * 100)
    command = [*COMMAND, "--input", str(source), "--output", str(output)]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    full = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=limit)  # noqa: PLW1509
    assert full.returncode == 1
    assert full.stderr == "Cannot read or write: [Errno 27] File too large.\n"
    assert not output.exists()
    # A result that was cut is the last one.
    assert output.with_name("out.jsonl.partial").stat().st_size == 2000

    again = subprocess.run(command, check=True, capture_output=True, text=True)
    resumed = json.loads(again.stdout.splitlines()[0])
    assert resumed["event"] == "resumed", again.stdout
    assert resumed["lines"] == 2000 // len(b'00000000 ok {"id":"1","words":3,"longest":"flow"}\n')
    assert output.read_text() == '{"id":"1","words":3,"longest":"flow"}\n' * 100


def test_lines_are_processed_as_they_arrive(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    command = [*COMMAND, "--output", str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as job:
        assert job.stdin
        job.stdin.write(b"first\n")
        job.stdin.flush()
        while not partial.exists() or not partial.read_bytes().endswith(b"\n"):
            assert job.poll() is None
            time.sleep(0.01)
        second = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert second.returncode == 1
        assert second.stderr == f"Another run is writing {partial}.\n"
        job.send_signal(signal.SIGTERM)
        assert job.wait(10) == 143

    again = subprocess.run(
        command, check=False, input=b"first\nsecond\n", stdout=subprocess.DEVNULL
    )
    assert again.returncode == 65
    assert [json.loads(row)["line"] for row in output.read_text().splitlines()] == [1, 2]


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"id": "{n}", "text": "wave {n}"}}\n' for n in range(5000)))
    command = [*COMMAND, "--input", str(source), "--output"]
    subprocess.run([*command, str(tmp_path / "whole.jsonl")], check=True, capture_output=True)
    partial = tmp_path / "out.jsonl.partial"
    kills = size = 0
    while not output.exists():
        with subprocess.Popen([*command, str(output)], stdout=subprocess.DEVNULL) as job:
            while job.poll() is None and (not partial.exists() or partial.stat().st_size <= size):
                time.sleep(0.01)
            time.sleep(0.1 * (kills % 4))
            job.kill()
        kills += 1
        size = partial.stat().st_size if partial.exists() else 0
    assert kills > 1
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_terminal_gets_a_bar_and_a_readable_log(tmp_path: Path) -> None:
    """Wherever the log is written meanwhile, the bar stays below it."""
    (tmp_path / "in.jsonl").write_text(WORDS * 2000 + "nonsense\n" + WORDS * 2000)
    command = [*COMMAND, "--input", "in.jsonl", "--output", "out.jsonl"]
    primary, secondary = pty.openpty()
    with subprocess.Popen(
        command,
        stdout=secondary,
        stderr=secondary,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm"},
    ) as job:
        os.close(secondary)
        screen = b""
        while True:
            try:
                screen += os.read(primary, 65536)
            except OSError:  # EIO: the job has closed its end.
                break
    os.close(primary)
    assert job.returncode == 65
    text = screen.decode()
    assert "%" in text
    assert " lines" in text
    assert "rejected" in text
    assert '{"' not in text


def test_the_log_shows_the_progress_every_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text("one\n\ntwo\nsix\n")
    seconds = iter(range(0, 100, 4))
    monkeypatch.setattr(runtime, "time", SimpleNamespace(monotonic=seconds.__next__))
    logs.configure()
    with (tmp_path / "in.jsonl").open("rb") as source:
        list(runtime.lines(source, Progress(disable=True, get_time=lambda: 0)))

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(record["lines"], record["percent"]) for record in records] == [(3, 69)]


def test_a_lock_of_another_program_is_respected(job: Job) -> None:
    job.input.write_text("")
    with job.partial.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="^Another run is writing "):
            job.run()
