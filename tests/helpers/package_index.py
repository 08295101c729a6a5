"""A package index, and a database of what is known to be vulnerable in it.

Pages are those of PEP 503 in HTML, and of PEP 691 and PEP 700 in JSON
(https://packaging.python.org/en/latest/specifications/simple-repository-api/). The database answers
as OSV does (https://google.github.io/osv.dev/api/). uv builds the wheels, with its own backend.
"""

import base64
import hashlib
import html
import http.server
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import run
from helpers.host_python import environment, uv

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Distribution:
    """A file that an index offers; `uploaded` is unknown where the index does not say it."""

    project: str
    version: str
    file: str
    content: bytes
    uploaded: datetime | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of the file, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


@cache
def wheel(
    project: str, version: str, requires: tuple[str, ...] = (), code: str = ""
) -> Distribution:
    """Build a wheel of one module, `code`, at most once. Skips the test where uv is missing."""
    program = uv()
    if program is None:
        pytest.skip("uv is not here")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "src", project.replace("-", "_"), "__init__.py")
        module.parent.mkdir(parents=True)
        module.write_text(code)
        Path(folder, "pyproject.toml").write_text(
            f'[project]\nname = "{project}"\nversion = "{version}"\n'
            f'requires-python = ">=3.11"\ndependencies = {json.dumps(requires)}\n\n'
            '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
        )
        build = ("build", "--quiet", "--offline", "--wheel", "--out-dir", "dist")
        run(program, *build, cwd=Path(folder), env=environment())
        (built,) = Path(folder, "dist").glob("*.whl")
        return Distribution(project, version, built.name, built.read_bytes())


@dataclass(frozen=True)
class Answer:
    """What a server says to a request."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Index:
    """What the index offers now, and which versions are known to be vulnerable.

    Without `dated` it is like GitLab's: HTML only, which says nothing about the time of an upload.
    """

    url: str = ""
    dated: bool = True
    distributions: list[Distribution] = field(default_factory=list)
    # The version that fixes it, by the names of projects.
    vulnerable: dict[str, str] = field(default_factory=dict)

    def release(self, project: str, version: str, days: int, *requires: str) -> None:
        """Offer a version that was uploaded some days ago, instead of the same one if it is there."""
        self.distributions = [
            d for d in self.distributions if (d.project, d.version) != (project, version)
        ]
        built = wheel(project, version, requires)
        uploaded = datetime.now(UTC) - timedelta(days=days)
        self.distributions.append(
            Distribution(project, version, built.file, built.content, uploaded)
        )

    def get(self, path: str, accept: str = "") -> Answer:
        """Return a page or a file by its path below the index's own; `accept` is the header."""
        match path.split("/"):
            case [""]:
                projects = {distribution.project for distribution in self.distributions}
                return self._html({f"{name}/": name for name in sorted(projects)})
            case [name, ""] if found := [d for d in self.distributions if d.project == name]:
                if self.dated and JSON in accept:
                    return self._json(name, found)
                return self._html({f"{d.file}#sha256={d.digest}": d.file for d in found})
            case [name] if any(d.project == name for d in self.distributions):
                return Answer(301, headers={"Location": f"{name}/"})
            case [name, file]:
                for d in self.distributions:
                    if (d.project, d.file) == (name, file):
                        return Answer(200, d.content, {"Content-Type": "application/octet-stream"})
        return Answer(404)

    def _html(self, links: Mapping[str, str]) -> Answer:
        anchors = "".join(
            f'<a href="{html.escape(url)}">{html.escape(text)}</a><br>'
            for url, text in links.items()
        )
        page = f"<!DOCTYPE html><html><body>{anchors}</body></html>"
        return Answer(200, page.encode(), {"Content-Type": "text/html"})

    def _json(self, name: str, found: list[Distribution]) -> Answer:
        files = [
            {
                "filename": d.file,
                "url": d.file,
                "size": len(d.content),
                "hashes": {"sha256": d.digest},
                "upload-time": d.uploaded.isoformat().replace("+00:00", "Z"),
            }
            for d in found
            if d.uploaded
        ]
        versions = sorted({d.version for d in found})
        meta = {"api-version": "1.1"}
        page = {"meta": meta, "name": name, "versions": versions, "files": files}
        # PyPI lets a page be cached for ten minutes, in which a test releases something.
        headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
        return Answer(200, json.dumps(page).encode(), headers)

    def vulnerabilities(self, path: str, body: bytes) -> Answer:
        """Return what the database says to a request for a path below its version, /v1/."""
        match path.split("/"):
            case ["querybatch"]:
                found = [self._found(query) for query in json.loads(body)["queries"]]
                said: dict[str, Any] = {"results": found}
            case ["vulns", name]:
                said = self._vulnerability(name.removeprefix("TEST-"))
            case _:
                return Answer(404)
        return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

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


@dataclass(frozen=True)
class Mount:
    """An index below a path of a server, for everybody or for those who log in."""

    index: Index
    login: tuple[str, str] | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for indexes, by the path of each, and for the database of the one at /simple/."""

    protocol_version = "HTTP/1.1"
    mounts: Mapping[str, Mount]

    def do_GET(self) -> None:
        """Answer GET."""
        self.send(self.answer())

    def do_HEAD(self) -> None:
        """Answer HEAD."""
        self.send(self.answer())

    def do_POST(self) -> None:
        """Answer POST."""
        self.send(self.answer())

    def answer(self) -> Answer:
        """Return the answer to the request."""
        if self.path.startswith("/v1/"):
            index = self.mounts["/simple/"].index
            return index.vulnerabilities(self.path.removeprefix("/v1/"), self.body())
        for prefix, mount in self.mounts.items():
            if self.path.startswith(prefix):
                if mount.login and mount.login != self.credentials():
                    return self.login_needed()
                path = self.path.removeprefix(prefix)
                return mount.index.get(path, self.headers.get("Accept", ""))
        return Answer(404)

    def login_needed(self) -> Answer:
        """Return the answer to who has not logged in, or with what is wrong."""
        return Answer(401, headers={"WWW-Authenticate": 'Basic realm="private"'})

    def credentials(self) -> tuple[str, str]:
        """Return the user and the password of the request, empty where it has none."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        return (user, password) if scheme == "Basic" else ("", "")

    def body(self) -> bytes:
        """Return the body of a request, of a known length or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, answer: Answer) -> None:
        """Send an answer, to HEAD without its content."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(
    handler: type[Handler], address: str, context: ssl.SSLContext | None = None
) -> Iterator[http.server.ThreadingHTTPServer]:
    """Let a handler answer at a free port of an address, over TLS where there is a context."""
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def package_index(address: str = "127.0.0.1") -> Iterator[Index]:
    """Serve an index for everybody at /simple/, empty at first, and its database at /v1/."""
    index = Index()
    handler = type("IndexHandler", (Handler,), {"mounts": {"/simple/": Mount(index)}})
    with served(handler, address) as server:
        index.url = f"http://{address}:{server.server_address[1]}"
        yield index
