"""A registry that answers as GitHub's container registry does, in front of one on this machine."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@contextmanager
def github_registry(behind: str) -> Iterator[str]:
    """Yield the address of a registry that stores in the registry at the address `behind`.

    Each request needs a token, which an image that does not exist has none to give for: the answer
    is 403 with DENIED, for login and all (issue 223 of mccutchen/go-httpbin has skopeo's words for
    it: "Requesting bearer token: received unexpected HTTP status: 403 Forbidden"). A tag that an
    existing image does not have is 404 with MANIFEST_UNKNOWN (issue 14 of basecamp/once-campfire).
    Who may push may push anything.
    """

    class Handler(_Handler):
        upstream = behind

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    upstream: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""

    def _answer(self) -> None:
        body = self._body()
        if self.path.startswith("/token?"):
            self._token()
        elif not self.headers.get("Authorization"):
            name = self._image()
            actions = "pull" if self.command in ("GET", "HEAD") else "pull,push"
            scope = f',scope="repository:{name}:{actions}"' if name else ""
            realm = f'realm="http://{self.headers["Host"]}/token",service="ghcr.io"'
            self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": f"Bearer {realm}{scope}"})
        else:
            self._forward(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815

    def _image(self) -> str:
        """Return the name of the image that a path is about, or nothing."""
        parts = urlsplit(self.path).path.removeprefix("/v2/").split("/")
        kinds = [n for n, part in enumerate(parts) if part in ("manifests", "blobs", "tags")]
        return "/".join(parts[: kinds[0]]) if kinds else ""

    def _token(self) -> None:
        for scope in parse_qs(urlsplit(self.path).query).get("scope", []):
            _, name, actions = scope.split(":")
            if "push" not in actions and not self._exists(name):
                self._error(403, "DENIED")
                return
        self._send(200, {}, json.dumps({"token": "granted"}).encode())

    def _exists(self, name: str) -> bool:
        with closing(http.client.HTTPConnection(self.upstream, timeout=60)) as connection:
            connection.request("GET", "/v2/_catalog")
            return name in json.load(connection.getresponse())["repositories"]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body: bytes) -> None:
        dropped = ("authorization", "transfer-encoding", "content-length", "connection")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        with closing(http.client.HTTPConnection(self.upstream, timeout=60)) as connection:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
        kept = {k: v for k, v in response.getheaders() if k.lower() not in dropped[1:]}
        size = response.getheader("Content-Length") if self.command == "HEAD" else None
        self._send(response.status, kept, content, size)

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        errors = {"errors": [{"code": code, "message": code.lower()}]}
        self._send(status, headers or {}, json.dumps(errors).encode())

    def _send(
        self, status: int, headers: dict[str, str], content: bytes, size: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", size or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
