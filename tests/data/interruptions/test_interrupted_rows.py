"""Proofs about rows.py: a job that is killed, and copies that run at the same time."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from mmap import mmap
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine

from my_service import rows
from my_service.__main__ import main
from my_service.models import Base

INPUT = """\
{"id": "a", "value": 2}
nonsense

{"id": "b", "value": -1}
{"id": "c", "value": 3}
"""
OUTPUT = [
    ("a", '{"square": 4}', None),
    ("b", None, "negative"),
    ("c", '{"square": 9}', None),
]


class Number(BaseModel):
    id: str
    value: int


class Square(BaseModel):
    square: int


class Work:
    """Squares numbers, after a disturbance that a test may add."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.disturbance: Callable[[Number], object] | None = None

    def process(self, item: Number) -> Square:
        if self.disturbance:
            self.disturbance(item)
        self.done.append(item.id)
        if item.value < 0:
            raise ValueError("negative\0")
        return Square(square=item.value**2)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "test.sqlite3"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(autouse=True)
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    work = Work()
    monkeypatch.setattr(rows, "Item", Number)
    monkeypatch.setattr(rows, "process", work.process)
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    handler = signal.getsignal(signal.SIGINT)
    yield work
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "in.jsonl").write_text(INPUT)
    return ["--input", str(tmp_path / "in.jsonl")]


def table(database: Path) -> list[tuple[Any, ...]]:
    """Return the id, the result and the error of each row that is not pending."""
    query = "SELECT key, result, error FROM items WHERE processed_at IS NOT NULL ORDER BY number"
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def fork(arguments: list[str], lines: int = sys.maxsize) -> int:
    """Run the job in a process that is killed after so many lines of code; return its id."""
    child = os.fork()
    if child:
        return child
    steps = iter(range(lines))

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != rows.__file__:
            return None
        if event == "line" and next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    try:
        sys.settrace(trace)
        os._exit(main(arguments))
    finally:
        os._exit(1)


def wait(child: int) -> int:
    """Return the exit status of a process, or the signal that ended it, as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_kill_loses_nothing_and_doubles_nothing(
    database: Path, arguments: list[str], work: Work
) -> None:
    calls = mmap(-1, 1)  # Shared with the processes that are killed.

    def count(_: Number) -> None:
        calls[0] += 1

    work.disturbance = count
    empty = database.with_name("empty.sqlite3")
    shutil.copyfile(database, empty)
    step = 0
    while (status := wait(fork(arguments, step))) == -signal.SIGKILL:
        assert table(database) == OUTPUT[: len(table(database))]
        main(arguments)
        assert table(database) == OUTPUT
        assert calls[0] <= 4, "more than the row being processed was done again"
        calls[0] = 0
        shutil.copyfile(empty, database)
        step += 4  # Each one would take long, and the database knows no instants in between.

    assert status == 65
    assert step > 100
    assert table(database) == OUTPUT


def test_copies_side_by_side_share_the_rows(
    database: Path, tmp_path: Path, arguments: list[str], work: Work
) -> None:
    items = (Number(id=str(value), value=value) for value in range(40))
    (tmp_path / "in.jsonl").write_text("\n".join(item.model_dump_json() for item in items))
    calls = mmap(-1, 40)

    def count(item: Number) -> None:
        calls[item.value] += 1

    work.disturbance = count
    copies = [fork(arguments), fork(arguments)]

    assert [wait(copy) for copy in copies] == [0, 0]
    assert list(calls[:]) == [1] * 40
    assert len(table(database)) == 40
