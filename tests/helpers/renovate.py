"""Renovate, run on a folder of this machine."""

import json
import os
from pathlib import Path
from typing import Any

from helpers.commands import run
from helpers.host_python import environment
from helpers.pipelines import NODE


def run_renovate(
    folder: Path, node_tools: Path, base: Path, *options: str, **variables: str
) -> list[dict[str, Any]]:
    """Run Renovate in a folder and return the entries of its log; its own files go below `base`."""
    node = node_tools / NODE / "bin" / "node"
    renovate = node_tools / "renovate" / "dist" / "renovate.js"
    settings = {
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        # Where there is none, nothing of GitHub is looked at.
        "RENOVATE_GITHUB_COM_TOKEN": "none",
        "RENOVATE_BASE_DIR": str(base),
        "PATH": os.pathsep.join([str(node.parent), os.environ["PATH"]]),
    }
    always = ("--platform=local", "--onboarding=false")
    env = environment(settings | variables)
    said = run(node, renovate, *always, *options, cwd=folder, env=env)
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def extracted(
    folder: Path, node_tools: Path, base: Path, *options: str, **variables: str
) -> list[dict[str, Any]]:
    """Return the dependencies that Renovate finds in a folder, each with its file and manager."""
    entries = run_renovate(folder, node_tools, base, "--dry-run=extract", *options, **variables)
    [found] = [e for e in entries if e["msg"] == "Extracted dependencies"]
    return [
        dependency | {"file": file["packageFile"], "manager": manager}
        for manager, files in found["packageFiles"].items()
        for file in files
        for dependency in file["deps"]
    ]
