"""An engine that exports caches and provenance, which Docker's own image store cannot."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.docker_engine import docker

# Bytes of memory: what the engine stores, twice.
NEEDED = 8_000_000_000


@contextlib.contextmanager
def exporting_engine() -> Iterator[str]:
    """Find or start an engine with containerd's image store and yield its address.

    Raises RuntimeError where there is none and none can be started.

    It is there to build, with the network of the host. A second engine that could change networks
    would remove the interface of the first one: this one has no such capability, for which it
    runs no containers.
    """
    status = docker("info", "--format", "{{json .DriverStatus}}").stdout
    if "io.containerd.snapshotter" in status:
        endpoint = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").stdout
        yield os.environ.get("DOCKER_HOST", endpoint.strip())
        return
    program = _dockerd()
    # A socket cannot have a long path.
    folder = Path(tempfile.mkdtemp(prefix="engine"))
    address = f"unix://{folder}/socket"
    settings = folder / "daemon.json"
    settings.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    # What it stores lies in memory, and is gone with its process.
    script = f'mkdir {folder}/data && mount -t tmpfs tmpfs {folder}/data && exec "$@"'
    command = [
        "unshare", "--mount", "sh", "-c", script, "sh",
        "setpriv", "--pdeathsig=TERM", "--bounding-set=-net_admin", "--inh-caps=-net_admin",
        str(program),
        f"--config-file={settings}", f"--data-root={folder}/data", f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid", f"--host={address}",
        "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(
            command,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 30
        while docker("--host", address, "info").returncode:
            if daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no second engine: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.2)
        yield address
    finally:
        daemon.terminate()
        daemon.wait(60)
        subprocess.run(["rm", "-rf", folder], check=False)


def _available_memory() -> int:
    """Return how many bytes of memory are free to be used."""
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _dockerd() -> Path:
    """Return the program of an engine: the one on the path, or of the one that runs."""
    if os.geteuid():
        raise RuntimeError("only root can start a second engine")
    if _available_memory() < NEEDED:
        raise RuntimeError("too little memory for a second engine")
    if missing := [name for name in ("unshare", "setpriv") if not shutil.which(name)]:
        raise RuntimeError(f"no {missing[0]} to start a second engine with")
    if found := shutil.which("dockerd"):
        return Path(found)
    with contextlib.suppress(OSError):
        process = Path("/var/run/docker.pid").read_text().strip()
        return Path(f"/proc/{process}/exe").readlink()
    raise RuntimeError("dockerd is not on this machine")
