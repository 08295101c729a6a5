"""The tools that are installed beside the tests: linters, formatters, type checkers."""

import shutil
import subprocess
import sysconfig
from pathlib import Path


def tool(name: str) -> str:
    """Return the path of a tool that is installed beside these tests."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is not in the dev group"
    return found


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed and return what it prints to standard output."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
