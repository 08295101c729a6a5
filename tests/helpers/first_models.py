"""What a newcomer adds to a generated project by its README: a first model, and where it is used."""

from pathlib import Path

# The section of a generated README that says how, by framework.
SECTIONS = {"django": "Add an app", "fastapi": "Add a resource"}

_DJANGO = """from django.db import models


class Boat(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name
"""
_TABLE = """

class Boat(Base):
    __tablename__ = "boat"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
"""
_ROUTER = '''"""Boats."""

from fastapi import APIRouter
from pydantic import BaseModel

from {package}.database import SessionDep
from {package}.models import Boat

router = APIRouter(prefix="/boats", tags=["boats"])


class BoatIn(BaseModel):
    name: str


@router.post("", status_code=201)
async def create_boat(boat_in: BoatIn, session: SessionDep) -> int:
    boat = Boat(name=boat_in.name)
    session.add(boat)
    await session.commit()
    return boat.id
'''


def write_model(package: Path, framework: str) -> None:
    """Write the model into a project's package, and what makes the project use it.

    With Django, `startapp shop` comes before.
    """
    if framework == "django":
        _insert(package / "settings.py", "INSTALLED_APPS = [\n", f'    "{package.name}.shop",\n')
        (package / "shop/models.py").write_text(_DJANGO)
        return
    models = package / "models.py"
    models.write_text(models.read_text() + _TABLE)
    (package / "api/boats.py").write_text(_ROUTER.format(package=package.name))
    _insert(package / "app.py", f"from {package.name}.api import ", "boats, ")
    include = "    app.include_router(notes.router)\n"
    _insert(package / "app.py", include, include.replace("notes", "boats"))


def _insert(path: Path, after: str, text: str) -> None:
    before = path.read_text()
    assert before.count(after) == 1, f"{path}: {after!r}"
    path.write_text(before.replace(after, after + text))
