"""Commands that tests run, and the tools that are installed beside the tests."""

import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

Completed = subprocess.CompletedProcess[str]

# Seconds that a command may take unless a test says otherwise.
TIMEOUT = 600


def tool(name: str) -> str:
    """Return the path of a tool that is installed beside these tests."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is not in the dev group"
    return found


def attempt(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    merged: bool = False,
) -> Completed:
    """Run a command that may fail, and return its status and its output as text.

    It gets no input. `timeout` is in seconds; `merged` puts standard error into standard output,
    as a terminal does. Raises OSError where the program is missing, TimeoutExpired where it takes
    too long.
    """
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> str:
    """Run a command that must succeed, and return what it prints to standard output.

    Raises AssertionError with everything that it printed where it fails.
    """
    done = attempt(*command, cwd=cwd, env=env, timeout=timeout)
    shown = " ".join(str(word) for word in command)
    assert done.returncode == 0, f"{shown}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
