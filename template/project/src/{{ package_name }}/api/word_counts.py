"""Word counts: an example of a resource that needs no database."""

import re
from collections import Counter
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter(prefix="/word-counts", tags=["word counts"])


class Text(BaseModel):
    text: Annotated[str, Field(max_length=100_000)]
    top: Annotated[int, Field(ge=1, le=100)] = 10


class WordCount(BaseModel):
    word: str
    count: int


class WordCounts(BaseModel):
    total: int
    top: list[WordCount]


# Not async: FastAPI runs it in a thread, because counting a long text would block the event loop.
@router.post("")
def count_words(text: Text) -> WordCounts:
    """Count the words of a text, ignoring case, and return the most frequent ones."""
    counts = Counter(re.findall(r"\w+", text.text.casefold()))
    top = [WordCount(word=word, count=count) for word, count in counts.most_common(text.top)]
    return WordCounts(total=counts.total(), top=top)
