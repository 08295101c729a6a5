"""A package index whose releases have ages, and a database of their vulnerabilities."""

import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any


@dataclass(frozen=True)
class Release:
    """A version of a package, as one wheel without code."""

    name: str
    version: str
    uploaded: datetime
    requires: tuple[str, ...]

    @property
    def file(self) -> str:
        """The name of the wheel."""
        return f"{self.name}-{self.version}-py3-none-any.whl"

    @property
    def wheel(self) -> bytes:
        """The wheel."""
        info = f"{self.name}-{self.version}.dist-info"
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in self.requires)
        name = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{needs}"
        content = BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for file, text in {
                f"{info}/METADATA": name,
                f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                f"{info}/RECORD": "",
            }.items():
                archive.writestr(zipfile.ZipInfo(file), text)
        return content.getvalue()


@dataclass
class Index:
    """What the index offers now, and which versions are known to be vulnerable."""

    url: str = ""
    releases: list[Release] = field(default_factory=list)
    # The version that fixes it, by the names of packages.
    vulnerable: dict[str, str] = field(default_factory=dict)

    def release(self, name: str, version: str, days: int, *requires: str) -> None:
        """Offer a version that was uploaded some days ago, instead of the same one if it is there."""
        self.releases = [r for r in self.releases if (r.name, r.version) != (name, version)]
        uploaded = datetime.now(UTC) - timedelta(days=days)
        self.releases.append(Release(name, version, uploaded, requires))

    def answer(self, path: str, body: Any = None) -> bytes | None:
        """Return what is at a path, or None."""
        match path.strip("/").split("/"):
            case ["simple", name]:
                found = [release for release in self.releases if release.name == name]
                return json.dumps(self._page(name, found)).encode() if found else None
            case ["files", file]:
                return next((r.wheel for r in self.releases if r.file == file), None)
            case ["v1", "querybatch"]:
                answers = [self._found(query) for query in body["queries"]]
                return json.dumps({"results": answers}).encode()
            case ["v1", "vulns", name]:
                return json.dumps(self._vulnerability(name.removeprefix("TEST-"))).encode()
        return None

    def _page(self, name: str, found: list[Release]) -> dict[str, Any]:
        files = [
            {
                "filename": release.file,
                "url": f"{self.url}/files/{release.file}",
                "hashes": {"sha256": hashlib.sha256(release.wheel).hexdigest()},
                "upload-time": release.uploaded.isoformat().replace("+00:00", "Z"),
            }
            for release in found
        ]
        return {"meta": {"api-version": "1.1"}, "name": name, "files": files}

    def _found(self, query: dict[str, Any]) -> dict[str, Any]:
        name, version = query["package"]["name"], query["version"]
        if name not in self.vulnerable or version == self.vulnerable[name]:
            return {}
        return {"vulns": [{"id": f"TEST-{name}", "modified": "2026-01-01T00:00:00Z"}]}

    def _vulnerability(self, name: str) -> dict[str, Any]:
        events = [{"introduced": "0"}, {"fixed": self.vulnerable[name]}]
        affected = {
            "package": {"ecosystem": "PyPI", "name": name},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return {
            "id": f"TEST-{name}",
            "modified": "2026-01-01T00:00:00Z",
            "summary": "It burns.",
            "affected": [affected],
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    index: Index

    def do_GET(self) -> None:
        """Answer GET."""
        self._send(self.index.answer(self.path))

    def do_HEAD(self) -> None:
        """Answer HEAD."""
        self._send(self.index.answer(self.path))

    def do_POST(self) -> None:
        """Answer POST."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.index.answer(self.path, json.loads(body)))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _send(self, content: bytes | None) -> None:
        self.send_response(200 if content is not None else 404)
        page = self.path.startswith("/simple/")
        kind = "application/vnd.pypi.simple.v1+json" if page else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content or b"")


@contextmanager
def package_index(address: str = "127.0.0.1") -> Iterator[Index]:
    """Serve an index at an address, empty at first."""
    index = Index()
    handler = type("Handler", (_Handler,), {"index": index})
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        index.url = f"http://{address}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
