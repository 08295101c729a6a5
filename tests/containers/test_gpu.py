"""The service and the training job on CUDA's base image, on whatever machine the tests run.

Together they are S3.4: the serving and the training artifact are made from one template.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.built_projects import Stack
from helpers.docker_engine import STRICT, Container, docker, docker_ok, running

# Seconds of training in plain Python: long enough to be killed in the middle.
STEPS = 20_000

ASK = (
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=20);"
    "c.request('POST', '/predict', sys.argv[1], {'Content-Type': 'application/json'});"
    "r = c.getresponse(); print(r.status, r.read().decode())"
)


def events(log: str) -> list[dict[str, Any]]:
    """Return the records of a log, each a line of JSON. Raises ValueError for any other line."""
    return [json.loads(line) for line in log.splitlines()]


@pytest.fixture
def service(stack: Stack) -> Iterator[Container]:
    """The service as a strict platform runs it, with whatever device there is."""
    with running(stack.image(), *STRICT, "--network=none") as container:
        container.wait_until_live()
        yield container


@pytest.mark.stacks("cuda-service")
def test_service_predicts_and_names_its_device(service: Container) -> None:
    """S3.1, S3.4: without a GPU one line says so, and the CPU answers."""
    status, body = service.get("/readyz")
    # The model may still be loading.
    while status == 503:
        assert json.loads(body)["missing"] == ["model"]
        status, body = service.get("/readyz")
    device = json.loads(body)["device"]
    assert device == "cpu" or device.startswith("cuda:")
    done = service.exec("python", "-c", ASK, '{"rows": [[0, 0, 0, 0], [1, 2, 3, 4]]}')
    status_text, _, body = done.stdout.partition(" ")
    assert status_text == "200", done.stdout + done.stderr + service.logs()
    assert len(json.loads(body)["predictions"]) == 2
    said = [event for event in events(service.logs()) if event.get("device") == device]
    assert said
    missing = [event for event in said if event["event"] == "no GPU, the CPU is used"]
    assert len(missing) == (device == "cpu")


@pytest.fixture
def volumes() -> Iterator[list[str]]:
    """Two volumes of the engine."""
    names = [docker_ok("volume", "create").strip() for _ in range(2)]
    yield names
    docker("volume", "rm", "--force", *names)


def train(stack: Stack, volume: str) -> tuple[str, "subprocess.Popen[str]"]:
    """Start the training as strictly as a platform may; return the container's name too."""
    name = f"slipway-test-{uuid.uuid4().hex[:12]}"
    command = [
        "docker", "run", "--rm", "--name", name, *STRICT, "--network=none",
        f"--volume={volume}:/data", "--env=CHECKPOINT_SECONDS=0.2", stack.image().reference,
        "--output=/data/training", f"--steps={STEPS}",
    ]  # fmt: skip
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return name, job


def interrupt(stack: Stack, volume: str, signal: str) -> tuple[int, list[dict[str, Any]]]:
    """Train until there is a checkpoint, send a signal, and return exit status and log."""
    name, job = train(stack, volume)
    assert job.stdout
    log = ""
    while '"saved"' not in log:
        line = job.stdout.readline()
        assert line, log
        log += line
    docker_ok("kill", f"--signal={signal}", name)
    rest, _ = job.communicate()
    return job.returncode, events(log + rest)


def model(stack: Stack, volume: str) -> str:
    """Return the digests of the files that a training left, but for its checkpoint."""
    code = (
        "import hashlib, pathlib\n"
        "for path in sorted(pathlib.Path('/data/training').iterdir()):\n"
        "    if 'checkpoint' not in path.name:\n"
        "        print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())"
    )
    return stack.python(code, f"--volume={volume}:/data")


@pytest.mark.stacks("cuda-job")
def test_training_killed_twice_ends_as_if_it_never_was(stack: Stack, volumes: list[str]) -> None:
    """S3.1, S3.4: a platform may take the machine away at any time, with a warning or without."""
    whole, torn = volumes
    _, job = train(stack, whole)
    log, _ = job.communicate()
    assert job.returncode == 0, log

    status, killed = interrupt(stack, torn, "KILL")
    assert status == 137
    assert killed[0]["event"] != "resumed"
    status, ended = interrupt(stack, torn, "TERM")
    assert status == 143
    resumed = next(event["step"] for event in ended if event["event"] == "resumed")
    assert 0 < resumed < STEPS
    left = [event["step"] for event in ended if event["event"] == "saved"][-1]

    _, job = train(stack, torn)
    log, _ = job.communicate()
    assert job.returncode == 0, log
    assert next(e["step"] for e in events(log) if e["event"] == "resumed") == left
    assert model(stack, whole)
    assert model(stack, torn) == model(stack, whole)
