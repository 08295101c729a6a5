"""A docker command that stands before the real one, for pipelines on a machine without a network.

It hands everything to the real command but what needs an image from the network. `buildx bake`
needs BuildKit's own for attestations and for OCI archives, the scan needs Grype's and its database.

    python docker_stand_in.py DOCKER VULNERABLE BAKE ARGUMENT...

On GitLab's Kubernetes executor the client learns from variables alone where its engine is, as the
entrypoint of its image does not run (https://docs.gitlab.com/ci/docker/docker_in_docker/). And with
the storage driver overlay2, btrfs or vfs, an engine of version 29 keeps images where there is no
place for attestations (moby, daemon/image_store_choice.go; buildx, build/opt.go). So does this
command where STAND_IN_FOR is `kubernetes`.

DOCKER is the real command. VULNERABLE is a file with the names of packages that the scan takes for
vulnerable, one a line. BAKE are options for each `buildx bake`, as a shell has them. What builds
print is also added to build.log beside VULNERABLE: act drops what it has not read when a command
ends.
"""

import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

# How a job on GitLab reaches the engine in its service.
SERVICE = {
    "DOCKER_HOST": "tcp://docker:2376",
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": "/certs/client",
}
# The storage drivers of Docker 29 that keep images without attestations.
WITHOUT_ATTESTATIONS = {"btrfs", "overlay2", "vfs"}


def kubernetes_problem(arguments: list[str]) -> str | None:
    """Return why a command fails on GitLab's Kubernetes executor, or None.

    What leads to the service then leads to this machine's engine.
    """
    if {name: os.environ.get(name) for name in SERVICE} != SERVICE:
        return "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    attested = any(".attest=" in argument for argument in arguments)
    if attested and os.environ.get("DOCKER_DRIVER") in WITHOUT_ATTESTATIONS:
        return "ERROR: Attestation is not supported for the docker driver."
    for name in SERVICE:
        del os.environ[name]
    return None


def bake(docker: str, arguments: list[str], log: Path) -> int:
    """Build, add the output to `log`, and write the requested archives from the engine's images.

    An archive of `docker save` is also an OCI layout.
    """
    options, tags, archives = [], {}, {}
    words = iter(arguments)
    for word in words:
        text = f"--set={next(words)}" if word == "--set" else word
        target, _, value = text.removeprefix("--set=").partition(".output=type=oci,dest=")
        if value:
            archives[target] = value
        elif ".attest=" not in text and "=type=gha," not in text:
            options.append(text)
        target, _, tag = text.removeprefix("--set=").partition(".tags=")
        if tag:
            tags[target] = tag
    for _ in range(2):
        ran = subprocess.run(
            [docker, "buildx", "bake", *options], stderr=subprocess.PIPE, text=True, check=False
        )
        with log.open("a") as copy:
            copy.write(ran.stderr)
        print(ran.stderr, file=sys.stderr, end="")
        status = ran.returncode
        # What uv says where the network does not answer in time: another chance.
        if status == 0 or "operation timed out" not in ran.stderr:
            break
    for target, archive in archives.items():
        if status == 0:
            save = [docker, "image", "save", "--output", archive, tags[target]]
            status = subprocess.run(save, check=False).returncode
    return status


def scan(vulnerable: set[str], arguments: list[str]) -> int:
    """Say which image an archive holds, and return 2 where a package in it is vulnerable."""
    mounts = [a.split(":") for a in arguments if a.endswith(":ro")]
    [(archive, place, _)] = mounts
    assert arguments[-4:] == [f"docker-archive:{place}", "--only-fixed", "--fail-on", "high"]
    found = set()
    with tarfile.open(archive) as image:
        [manifest] = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                names = (Path(name).name for name in files.getnames())
                found |= {n.split("-")[0] for n in names if n.endswith(".dist-info")}
    print(f"scanned {Path(manifest['Config']).name}: {' '.join(sorted(found))}")
    return 2 if found & vulnerable else 0


def main() -> int:
    """Run the command and return its status."""
    docker, vulnerable, options, *arguments = sys.argv[1:]
    if os.environ.get("STAND_IN_FOR") == "kubernetes" and (
        problem := kubernetes_problem(arguments)
    ):
        print(problem, file=sys.stderr)
        return 1
    if arguments[:2] == ["buildx", "prune"]:
        # The builder of the job, which has a cache of its own there; here it is everybody's.
        return 0
    if arguments[:2] == ["buildx", "bake"]:
        log = Path(vulnerable).with_name("build.log")
        return bake(docker, [*shlex.split(options), *arguments[2:]], log)
    if arguments[0] == "run" and any(a.startswith("anchore/grype:v") for a in arguments):
        return scan(set(Path(vulnerable).read_text().split()), arguments)
    return subprocess.run([docker, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
