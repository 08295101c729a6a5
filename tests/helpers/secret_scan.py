"""Where a secret lies that should be nowhere: a search through all that a build leaves behind."""

import base64
import gzip
import tarfile
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path


def needles(secret: str) -> set[bytes]:
    """Return the forms of a secret to look for: as it is, in a URL, and in base64.

    Base64 has three forms of a text, by where it starts in what is encoded. Characters at its
    ends depend on their neighbours and are left out.
    """
    found = {secret.encode(), urllib.parse.quote(secret, safe="").encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).rstrip(b"=")
        found.add(encoded[4 if offset else 0 : -2])
    return found


def of_key(key: Path) -> list[str]:
    """Return the lines of a private key that no other key has, and that are long enough."""
    return [line for line in key.read_text().splitlines()[3:-1] if len(line) > 40]


def in_bytes(content: bytes, secrets: Iterable[str]) -> bool:
    """Return whether one of the secrets is in some bytes."""
    return any(needle in content for secret in secrets for needle in needles(secret))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of a folder, out of compression.

    An archive holds the files of a layer as they are.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        packed = content.startswith(b"\x1f\x8b")
        yield str(path.relative_to(folder)), gzip.decompress(content) if packed else content


def in_folder(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Return the files of a folder that hold a secret, or have it in their name."""
    secrets = list(secrets)
    return [
        name for name, content in contents(folder) if in_bytes(name.encode() + content, secrets)
    ]


def unpacked(archive: Path) -> Path:
    """Unpack an archive beside itself, remove it, and return the folder."""
    folder = archive.with_suffix(".unpacked")
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    archive.unlink()
    return folder
