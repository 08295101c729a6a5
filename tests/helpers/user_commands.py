"""Generated projects in which commands run as their owners would run them."""

import io
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from copier import run_copy

from helpers.commands import Completed, attempt
from helpers.host_python import environment
from helpers.rendering import Project


@dataclass(frozen=True)
class Workshop:
    """A generated project to work in, and what Copier said after it had made it."""

    project: Project
    message: str

    @property
    def path(self) -> Path:
        """The project's folder."""
        return self.project.path

    @property
    def package(self) -> str:
        """The name of the project's package."""
        name: str = self.project.answers["package_name"]
        return name

    @property
    def sources(self) -> Path:
        """The folder of the project's package."""
        return self.path / "src" / self.package

    @property
    def host_command(self) -> str:
        """The line of the message that is for this machine."""
        _, _, rest = self.message.partition("On this machine")
        return next(line.strip() for line in rest.splitlines()[1:] if line.strip())

    def run(self, command: str, **variables: str) -> Completed:
        """Run a command line, its words split as in a shell, with variables of its own."""
        command_line = shlex.split(command)
        return attempt(*command_line, cwd=self.path, env=environment(variables), merged=True)

    def ok(self, command: str, **variables: str) -> str:
        """Run a command line and return what it printed.

        Raises AssertionError with that when the command fails.
        """
        ran = self.run(command, **variables)
        assert ran.returncode == 0, f"{command}: status {ran.returncode}\n{ran.stdout}"
        return ran.stdout

    def fails(self, command: str, reason: str, **variables: str) -> None:
        """Check that a command fails and that it says why."""
        ran = self.run(command, **variables)
        assert ran.returncode != 0, f"{command} passes\n{ran.stdout}"
        assert reason in ran.stdout, f"{command}: no {reason!r} in\n{ran.stdout}"

    @contextmanager
    def changed(self, path: Path, text: str) -> Iterator[None]:
        """Give a file another text, or make a new one, for a while."""
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        try:
            yield
        finally:
            if before is None:
                path.unlink()
            else:
                path.write_text(before)

    def served(self, command: str, url: str, seconds: float = 90) -> str:
        """Return the page at `url` of the server that a shell's command line starts.

        The server is ended as by Ctrl-C. Raises AssertionError with its output where it ends by
        itself, refuses, or does not answer in time.
        """
        log = self.path.parent / "server.log"
        with log.open("w") as output:
            shell = subprocess.Popen(
                ["sh", "-c", command],
                cwd=self.path.parent,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + seconds
        try:
            while shell.poll() is None and time.monotonic() < end:
                with suppress(ConnectionError, TimeoutError):
                    return _page(url)
                time.sleep(0.1)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error}\n{log.read_text()}") from error
        finally:
            _interrupt(shell)
        raise AssertionError(f"{command}: status {shell.returncode}\n{log.read_text()}")


def generate(template: Path, destination: Path, answers: Mapping[str, Any]) -> Workshop:
    """Copy the template and keep what Copier says."""
    with redirect_stderr(io.StringIO()) as said:
        run_copy(str(template), destination, data=dict(answers), defaults=True)
    return Workshop(Project(destination), said.getvalue())


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _page(url: str) -> str:
    """Return the page at `url`, past any proxy of this machine.

    Raises ConnectionError or TimeoutError where nothing answers, HTTPError where it refuses.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response: HTTPResponse
        with opener.open(url, timeout=10) as response:
            return response.read().decode()
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise


def _interrupt(shell: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """End a process that leads a group, and the whole group, by force where it takes too long."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGINT)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shell.poll()
            os.killpg(shell.pid, 0)
            time.sleep(0.05)
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
