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
    """Return the result of `item`. ValueError rejects it; any other exception ends the run."""
    words = item.text.split()
    if not words:
        raise ValueError("the text has no words")
    return Result(id=item.id, words=len(words), longest=max(words, key=len))
