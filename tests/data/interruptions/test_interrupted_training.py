"""Proofs about training.py: killed or stopped at every line of its code."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any, BinaryIO

import pytest

from my_service import __main__ as command
from my_service import training
from my_service.device import Device
from my_service.training import Example, Position

STEPS = 4


class Sum:
    """A model that adds up random numbers, and notes each of its steps in a file."""

    device = Device("cpu")

    def __init__(self, examples: Sequence[Example], notes: Path) -> None:
        self.notes = notes
        self.random = Random(0)  # noqa: S311
        self.sum = 0.0

    def step(self) -> None:
        with self.notes.open("a") as file:
            file.write(".")
        self.sum += self.random.random()

    def loss(self) -> float:
        return self.sum

    def save(self, file: BinaryIO, position: Position) -> None:
        file.write(json.dumps([position, self.sum, self.random.getstate()]).encode())

    def load(self, file: BinaryIO) -> Position:
        position, self.sum, (version, state, gauss) = json.load(file)
        self.random.setstate((version, tuple(state), gauss))
        return Position(*position)

    def export(self, file: BinaryIO) -> None:
        file.write(str(self.sum).encode())


class Job:
    """The job with that model, and a folder for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder.with_name("notes")

    def make(self, examples: Sequence[Example]) -> Sum:
        return Sum(examples, self.notes)

    def run(self, *options: str) -> int:
        return command.main(["--output", str(self.folder), "--steps", str(STEPS), *options])

    def steps(self) -> int:
        """Return how many steps were made since the last call."""
        steps = self.notes.stat().st_size if self.notes.exists() else 0
        self.notes.unlink(missing_ok=True)
        return steps

    def forget(self) -> None:
        self.steps()
        for path in self.folder.glob("*"):
            path.unlink()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    job = Job(tmp_path / "run")
    maker = "load_model" if hasattr(command, "load_model") else "Model"
    monkeypatch.setattr(command, maker, job.make)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield job
    for number, handler in handlers.items():
        signal.signal(number, handler)


def undisturbed() -> str:
    random = Random(0)  # noqa: S311
    return str(sum(random.random() for _ in range(STEPS)))


def interrupted(job: Job, number: signal.Signals, step: int) -> int:
    """Run the job in a process that gets a signal after so many lines of code, if there are as many.

    Return its exit status, or the signal that killed it as a negative number.
    """
    functions = (training.run, training._train, training._resume, training.replace)
    traced = {function.__code__ for function in functions}
    traced |= {code for code in training._train.__code__.co_consts if isinstance(code, CodeType)}
    child = os.fork()
    if child == 0:
        steps = iter(range(step))
        sent = False

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal sent
            if frame.f_code not in traced:
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


def test_a_kill_at_any_instant_costs_the_steps_since_the_last_checkpoint(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    step = 0
    while interrupted(job, signal.SIGKILL, step) == -signal.SIGKILL:
        done = job.steps()
        assert job.run() == 0
        assert (job.folder / training.MODEL).read_text() == undisturbed()
        assert done + job.steps() <= STEPS + 1, f"line {step}: more than a step was done again"
        job.forget()
        step += 1
    assert step > 80


def test_a_stop_at_any_instant_costs_no_step(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SECONDS", "1000")
    step = 0
    while (status := interrupted(job, signal.SIGTERM, step)) == 143:
        done = job.steps()
        assert job.run() == 0
        assert (job.folder / training.MODEL).read_text() == undisturbed()
        assert done + job.steps() == STEPS, f"line {step}: a step was done again"
        job.forget()
        step += 1
    assert status == 0
    assert step > 40
