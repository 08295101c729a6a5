"""Proofs about rows.py: a job that is killed, and copies that run at the same time."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, NullPool, create_engine, delete, select
from sqlalchemy.orm import Session

from my_service import rows
from my_service.__main__ import main
from my_service.models import Base, ItemRow

INPUT = """\
{"id": "a", "value": 2}
nonsense

{"id": "b", "value": -1}
{"id": "c", "value": 3}
"""
OUTPUT = [
    ("a", {"square": 4}, None),
    ("b", None, "negative"),
    ("c", {"square": 9}, None),
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
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = create_engine(database_url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return engine


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


def table(database: Engine) -> list[tuple[Any, ...]]:
    """Return the id, the result and the error of each row that is not pending."""
    done = select(ItemRow).where(ItemRow.processed_at.is_not(None)).order_by(ItemRow.number)
    with Session(database) as session:
        return [(row.key, row.result, row.error) for row in session.scalars(done)]


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


# It runs the job a hundred times.
@pytest.mark.timeout(300)
def test_a_kill_loses_nothing_and_doubles_nothing(
    database: Engine, arguments: list[str], work: Work
) -> None:
    calls = mmap(-1, 1)  # Shared with the processes that are killed.

    def count(_: Number) -> None:
        calls[0] += 1

    work.disturbance = count
    step = 0
    while (status := wait(fork(arguments, step))) == -signal.SIGKILL:
        assert table(database) == OUTPUT[: len(table(database))]
        main(arguments)
        assert table(database) == OUTPUT
        assert calls[0] <= 4, "more than the row being processed was done again"
        calls[0] = 0
        with database.begin() as connection:
            connection.execute(delete(ItemRow))
        step += 4  # Each one would take long, and the database knows no instants in between.

    assert status == 65
    assert step > 100
    assert table(database) == OUTPUT


def test_copies_side_by_side_share_the_rows(
    database: Engine, tmp_path: Path, arguments: list[str], work: Work
) -> None:
    if database.dialect.name == "sqlite":
        pytest.skip("SQLite locks no rows: one copy at a time")
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
