"""The work itself. Put your own here: an item, its result, and how one becomes the other."""

from pydantic import BaseModel, Field


class Item(BaseModel):
    """One line of the input. `id` is the name that its producer gave it."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")
    text: str


class Result(BaseModel):
    """What is known about an item afterwards."""

    id: str
    words: int
    longest: str


def process(item: Item) -> Result:
    """Return the result of `item`.

    Raises ValueError for an item that has none: it is rejected and the run goes on. Any other
    exception ends the run, and the next run begins with this item.
    """
    words = item.text.split()
    if not words:
        raise ValueError("the text has no words")
    return Result(id=item.id, words=len(words), longest=max(words, key=len))
