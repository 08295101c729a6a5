"""Check what uv.lock says about packages from the private index, without contacting the index.

Run it in the project's folder: it prints each problem and exits with 1.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def required(package: dict[str, Any]) -> Iterator[str]:
    """Yield the names of a locked package's dependencies, including those of extras and groups."""
    groups = [package.get("dependencies", [])]
    for key in ("optional-dependencies", "dev-dependencies"):
        groups += package.get(key, {}).values()
    yield from (dependency["name"] for group in groups for dependency in group)


def problems() -> Iterator[str]:
    """Yield a line for each package that a build cannot fetch or that may not be yours."""
    lock, project = (
        tomllib.loads(Path(name).read_text()) for name in ("uv.lock", "pyproject.toml")
    )
    [index] = [i["url"] for i in project["tool"]["uv"]["index"] if i["name"] == "private"]
    packages = lock["package"]
    private = {p["name"]: p for p in packages if p["source"].get("registry") == index}
    for name, package in private.items():
        if not all("hash" in wheel for wheel in package.get("wheels", [])):
            yield f"{name}: the private index gives no hash for it, and images need one"

    # Anybody can upload to a public index. If a name looks like those of private packages, and no
    # public package needs it, `tool.uv.sources` may lack it.
    public = [p for p in packages if p["name"] not in private]
    known = {name for package in public for name in required(package)}
    prefixes = tuple(f"{name.partition('-')[0]}-" for name in private if "-" in name)
    for package in public:
        name = package["name"]
        if name not in known and name.startswith(prefixes) and "registry" in package["source"]:
            yield (
                f"{name}: only private packages need it, but it is from"
                f" {package['source']['registry']}. Add it to tool.uv.sources if it is private,"
                " and to your dependencies if it is not"
            )


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
