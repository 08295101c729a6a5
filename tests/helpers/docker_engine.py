"""Build, run and look into the images of generated projects."""

import io
import json
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path

from helpers.commands import TIMEOUT, Completed, attempt

# How a strict platform runs a container: no privilege, any user, nothing to write to but /tmp.
STRICT = ("--read-only", "--cap-drop=ALL", "--user=12345:0", "--tmpfs=/tmp")

# What uv says where the network does not answer in time, which is not what a test is about: such a
# build gets another chance.
BUSY = "operation timed out"
ATTEMPTS = 2


def docker(*arguments: str, cwd: Path | None = None, timeout: float = TIMEOUT) -> Completed:
    """Run one docker command and return its output as text, whatever its exit status.

    `timeout` is in seconds. Raises subprocess.TimeoutExpired.
    """
    for _ in range(ATTEMPTS):
        done = attempt("docker", *arguments, cwd=cwd, timeout=timeout)
        if done.returncode == 0 or BUSY not in done.stdout + done.stderr:
            break
    return done


def docker_ok(*arguments: str, cwd: Path | None = None, timeout: float = TIMEOUT) -> str:
    """Run one docker command and return its standard output.

    Raises AssertionError with everything that the command printed when it fails.
    """
    done = docker(*arguments, cwd=cwd, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def engine_problem() -> str | None:
    """Return why no container engine can be used, or None where one answers."""
    try:
        done = docker("info", "--format", "{{.ServerVersion}}", timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()


def gateway() -> str:
    """Return the address at which builds and containers reach this machine."""
    form = "{{(index .IPAM.Config 0).Gateway}}"
    return docker_ok("network", "inspect", "bridge", f"--format={form}").strip()


@dataclass(frozen=True)
class Image:
    """An image of the engine, by its reference."""

    reference: str

    def layers(self) -> list[str]:
        """Return the digests of the layers, base first."""
        text = docker_ok("image", "inspect", "--format", "{{json .RootFS.Layers}}", self.reference)
        layers: list[str] = json.loads(text)
        return layers

    def config(self) -> dict[str, object]:
        """Return the image's configuration: Env, User, Labels, Cmd and the others."""
        text = docker_ok("image", "inspect", "--format", "{{json .Config}}", self.reference)
        config: dict[str, object] = json.loads(text)
        return config

    def environment(self) -> dict[str, str]:
        """Return the variables that a container of this image starts with."""
        variables = self.config()["Env"]
        assert isinstance(variables, list)
        return {name: value for name, _, value in (item.partition("=") for item in variables)}

    def size(self) -> int:
        """Return the size in bytes of all layers together."""
        return int(docker_ok("image", "inspect", "--format={{.Size}}", self.reference))

    def layer_size(self, digest: str) -> int:
        """Return the size in bytes of one layer's uncompressed archive."""
        return self._layer(digest).getbuffer().nbytes

    def layer_files(self, digest: str) -> list[str]:
        """Return the paths of the files in one layer, without a leading slash."""
        with tarfile.open(fileobj=self._layer(digest)) as archive:
            return [member.name for member in archive.getmembers() if not member.isdir()]

    def _layer(self, digest: str) -> io.BytesIO:
        """Return one layer's uncompressed archive."""
        saved = subprocess.run(
            ["docker", "image", "save", self.reference], capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            layer = archive.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
            assert layer
            return io.BytesIO(layer.read())

    def files(self) -> dict[str, tarfile.TarInfo]:
        """Return what a container of this image sees, by path without a leading slash."""
        return _files(self.reference)


@cache
def _files(reference: str) -> dict[str, tarfile.TarInfo]:
    container = docker_ok("create", reference).strip()
    try:
        exported = subprocess.run(
            ["docker", "export", container], capture_output=True, check=True
        ).stdout
    finally:
        docker_ok("rm", container)
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        return {member.name: member for member in archive.getmembers()}


@dataclass(frozen=True)
class Container:
    """A container that runs in the background."""

    name: str

    def exec(self, *command: str) -> Completed:
        """Run a command inside and return its output, whatever its exit status."""
        return docker("exec", self.name, *command)

    def get(self, path: str, *, host: str = "127.0.0.1") -> tuple[int, str]:
        """Ask the service from inside, where no network is needed; return status and body."""
        code = (
            "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=20);"
            "c.request('GET', sys.argv[1], headers={'Host': sys.argv[2]}); r = c.getresponse();"
            "print(r.status, r.read().decode())"
        )
        done = self.exec("python", "-c", code, path, host)
        assert done.returncode == 0, done.stderr + self.logs()
        status, _, body = done.stdout.partition(" ")
        return int(status), body.rstrip("\n")

    def port(self) -> int:
        """Return the port of this machine that leads to port 8000."""
        return int(docker_ok("port", self.name, "8000/tcp").split(":")[-1])

    def logs(self) -> str:
        """Return what the container wrote to standard output and standard error."""
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def state(self) -> dict[str, object]:
        """Return the engine's account: Status, ExitCode, Health and others."""
        text = docker_ok("inspect", "--format", "{{json .State}}", self.name)
        state: dict[str, object] = json.loads(text)
        return state

    def wait_until_live(self, seconds: float = 30) -> None:
        """Return once /livez answers. Raises AssertionError with the log when it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.state()["Status"] != "running":
                break
            if self.exec("python", "-c", _PROBE).returncode == 0:
                return
            time.sleep(0.2)
        raise AssertionError(f"not live after {seconds} s: {self.state()}\n{self.logs()}")


_PROBE = "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/livez', timeout=2)"


@contextmanager
def running(image: Image, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run an image in the background and remove the container afterwards."""
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    docker_ok("run", "--detach", "--name", name, *options, image.reference, *command)
    try:
        yield Container(name)
    finally:
        docker("rm", "--force", "--volumes", name)


def fetch(
    url: str, *, method: str = "GET", body: dict[str, object] | None = None
) -> tuple[int, str, Message]:
    """Send one request, with `body` as JSON, and return status, text and headers.

    A status of 400 and above is returned, not raised.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers
