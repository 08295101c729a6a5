"""What Renovate asks for newer versions, answered on this machine.

Renovate runs as it is: its requests go through a proxy that answers for each host as the host's own
documentation says, with the versions that a test names. What differs between hosts is whether they
say when a version was published, on which `minimumReleaseAge` depends:

- PyPI does, `upload_time` of each file: "JSON API" in PyPI's documentation
- GitHub does, in its GraphQL API: https://docs.github.com/en/graphql/reference/objects#release
- Docker Hub does, `tag_last_pushed` of each tag: https://docs.docker.com/reference/api/hub/latest/
- Other registries do not: `tags/list` of the OCI distribution specification is a list of names,
  and a manifest is addressed by digest:
  https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags
- A git server does not list when a tag was made: https://git-scm.com/docs/http-protocol
"""

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme

# How many days ago each version was published.
Ages = Mapping[str, float]


@dataclass(frozen=True)
class Published:
    """What exists, and since how many days. What is not named here does not exist."""

    # By the names of packages.
    pypi: Mapping[str, Ages] = field(default_factory=dict)
    # Tags of images, by host and name: `ghcr.io/astral-sh/uv`, `docker.io/library/python`.
    images: Mapping[str, Ages] = field(default_factory=dict)
    # Tags and releases, by owner and name.
    github: Mapping[str, Ages] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A response of a host."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body in bytes: what is not bytes is JSON."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


NOT_FOUND = Answer({"message": "Not Found"}, 404)


def digest_of(image: str, tag: str) -> str:
    """Return the digest of an image: there is one for each tag."""
    return f"sha256:{hashlib.sha256(f'{image}:{tag}'.encode()).hexdigest()}"


def commit_of(repository: str, tag: str) -> str:
    """Return the commit of a tag."""
    return hashlib.sha1(f"{repository}@{tag}".encode()).hexdigest()


def answer(published: Published, host: str, path: str, body: bytes) -> Answer:
    """Return what a host answers to a request for a path with a query."""
    url = urlsplit(path)
    if host.startswith("pypi."):
        return _pypi(published, url.path)
    if host == "api.github.com":
        return _github(published, json.loads(body or b"{}"))
    if host == "github.com":
        return _git(published, url.path)
    if host == "hub.docker.com":
        return _docker_hub(published, url.path)
    if url.path == "/token":
        return Answer({"token": "anonymous"})
    return _registry(published, {"index.docker.io": "docker.io"}.get(host, host), url.path)


def _when(days: float) -> str:
    """Return the time some days ago, in UTC, as JSON APIs write it."""
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pypi(published: Published, path: str) -> Answer:
    found = re.fullmatch(r"/pypi/([^/]+)/json", path)
    if not found or found[1] not in published.pypi:
        return NOT_FOUND
    releases = published.pypi[found[1]]
    files = {v: [{"upload_time": _when(days).removesuffix("Z")}] for v, days in releases.items()}
    return Answer({"info": {"name": found[1]}, "releases": files})


def _github(published: Published, asked: Mapping[str, Any]) -> Answer:
    variables = asked["variables"]
    name = f"{variables['owner']}/{variables['name']}"
    if name not in published.github:
        return Answer({"data": {"repository": None}, "errors": [{"message": f"No {name}"}]})
    nodes: list[dict[str, Any]] = []
    for number, (tag, days) in enumerate(published.github[name].items()):
        if "refs/tags/" in asked["query"]:
            target = {
                "type": "Commit",
                "oid": commit_of(name, tag),
                "releaseTimestamp": _when(days),
            }
            nodes.append({"version": tag, "target": target})
        else:
            release = {"version": tag, "releaseTimestamp": _when(days), "id": number, "name": tag}
            nodes.append(release | {"isDraft": False, "isPrerelease": False, "description": ""})
            nodes[-1]["url"] = f"https://github.com/{name}/releases/tag/{tag}"
    payload = {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}
    return Answer({"data": {"repository": {"isRepoPrivate": False, "payload": payload}}})


def _git(published: Published, path: str) -> Answer:
    """Answer as a server of files does: git asks for the list of references by this name."""
    found = re.fullmatch(r"/([^/]+/[^/]+?)\.git/(info/refs|HEAD)", path)
    if not found or found[1] not in published.github:
        return NOT_FOUND
    if found[2] == "HEAD":
        return Answer(b"ref: refs/heads/main\n")
    tags = published.github[found[1]]
    lines = [f"{commit_of(found[1], tag)}\trefs/tags/{tag}\n" for tag in tags]
    return Answer("".join(lines).encode(), headers={"Content-Type": "text/plain"})


def _docker_hub(published: Published, path: str) -> Answer:
    found = re.fullmatch(r"/v2/repositories/([^/]+/[^/]+)/tags", path)
    image = f"docker.io/{found[1]}" if found else ""
    if image not in published.images:
        return NOT_FOUND
    tags = [
        {
            "id": number,
            "name": tag,
            "last_updated": _when(days),
            "tag_last_pushed": _when(days),
            "digest": digest_of(image, tag),
            "images": [],
        }
        for number, (tag, days) in enumerate(published.images[image].items())
    ]
    return Answer({"count": len(tags), "next": None, "previous": None, "results": tags})


def _registry(published: Published, host: str, path: str) -> Answer:
    if path.rstrip("/") == "/v2":
        challenge = f'Bearer realm="https://{host}/token",service="{host}"'
        return Answer({"errors": []}, 401, {"WWW-Authenticate": challenge})
    found = re.fullmatch(r"/v2/(.+)/(?:tags/(list)|manifests/(.+))", path)
    image = f"{host}/{found[1]}" if found else ""
    if not found or image not in published.images:
        return Answer({"errors": [{"code": "NAME_UNKNOWN"}]}, 404)
    tags = published.images[image]
    if found[2]:
        return Answer({"name": found[1], "tags": list(tags)})
    digests = {digest_of(image, tag): tag for tag in tags}
    if found[3] not in tags and found[3] not in digests:
        return Answer({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
    kind = "application/vnd.oci.image.index.v1+json"
    digest = digest_of(image, digests.get(found[3], found[3]))
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": []}
    return Answer(index, headers={"Content-Type": kind, "Docker-Content-Digest": digest})


@dataclass(frozen=True)
class Proxy:
    """A proxy that answers for all hosts."""

    address: str
    # The certificate to trust.
    authority: Path
    # Each request, `METHOD https://host/path`, with the status of the answer.
    log: list[str]


@contextmanager
def update_sources(published: Published, folder: Path) -> Iterator[Proxy]:
    """Answer for the hosts that Renovate asks, through a proxy of this machine."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    log: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        host = ""

        def do_CONNECT(self) -> None:
            self.host = self.path.rpartition(":")[0]
            self.send_response_only(200)
            self.end_headers()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(self.host).configure_cert(context)
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", 0)
            self.close_connection = False

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = answer(published, self.host, self.path, body)
            log.append(f"{self.command} https://{self.host}{self.path} {reply.status}")
            self.send_response(reply.status)
            content = {"Content-Type": "application/json"}
            for name, value in (content | dict(reply.headers)).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.content)

        def finish(self) -> None:
            super().finish()
            self.connection.close()

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        host, port = server.server_address[:2]
        yield Proxy(f"http://{host!s}:{port}", folder / "authority.pem", log)
    finally:
        server.shutdown()
        server.server_close()
