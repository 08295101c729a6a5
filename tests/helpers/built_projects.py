"""The generated projects whose images are built."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.docker_engine import STRICT, Image, docker_ok


@dataclass(frozen=True)
class Stack:
    """A generated project with its lock, the images built from it, and all builds there were."""

    name: str
    answers: dict[str, Any]
    project: Path
    built: dict[str, Image] = field(default_factory=dict)
    builds: list[Image] = field(default_factory=list)

    @property
    def framework(self) -> str:
        """The answer of that name."""
        return str(self.answers["framework"])

    @property
    def database(self) -> str:
        """The answer of that name."""
        return str(self.answers["database"])

    @property
    def package(self) -> Path:
        """The folder of the project's package."""
        (package,) = (self.project / "src").iterdir()
        return package

    def build(self, target: str = "production", **arguments: str) -> Image:
        """Build a target from the project as it is now.

        Raises AssertionError with the build's log when it fails.
        """
        reference = f"slipway-test/{self.name}:{target}-{uuid.uuid4().hex[:12]}"
        if self.answers.get("image_layout") == "single-stage":
            targets = []
        else:
            targets = [f"--target={target}"]
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        docker_ok("build", *targets, f"--tag={reference}", *options, ".", cwd=self.project)
        self.builds.append(Image(reference))
        return Image(reference)

    def python(self, code: str, *options: str, target: str = "production") -> str:
        """Return what a line of Python prints in a container as strict as a platform may make it."""
        return docker_ok(
            "run", "--rm", *STRICT, "--network=none", *options, "--entrypoint=python",
            self.image(target).reference, "-c", code,
        ).strip()  # fmt: skip

    def remove_images(self) -> None:
        """Remove what was built."""
        for image in self.builds:
            docker_ok("image", "rm", "--force", image.reference)

    def image(self, target: str = "production") -> Image:
        """Return a target of the project as it was generated, built at most once."""
        if target not in self.built:
            self.built[target] = self.build(target)
        return self.built[target]


def _answers(framework: str, database: str, **others: str) -> dict[str, str]:
    return {"framework": framework, "database": database, **others}


# Each framework with each database, on the default base image.
FRAMEWORKS = {
    "django-postgres": _answers("django", "postgres"),
    "django-sqlite": _answers("django", "sqlite"),
    "fastapi-postgres": _answers("fastapi", "postgres"),
    "fastapi-none": _answers("fastapi", "none"),
    "job-none": _answers("job", "none"),
    "job-postgres": _answers("job", "postgres"),
}

# Every base image, every source of Python, and dependencies that are compiled.
BASES = {
    "debian": _answers("fastapi", "none", base_image="debian"),
    "ubuntu": _answers("django", "sqlite", base_image="ubuntu"),
    "ubuntu-apt": _answers("job", "none", base_image="ubuntu", python_source="apt"),
    "cuda-service": _answers("fastapi", "none", base_image="cuda"),
    "cuda-job": _answers("job", "none", base_image="cuda"),
    "compiled": _answers(
        "django",
        "sqlite",
        base_image="debian",
        build_packages="build-essential",
        runtime_packages="libstdc++6, libjemalloc2",
    ),
}

# One stage, on a base that brings Python and on one that does not.
SINGLE = {
    "single-stage": _answers("django", "sqlite", image_layout="single-stage"),
    "single-stage-debian": _answers(
        "fastapi", "none", image_layout="single-stage", base_image="debian"
    ),
}

STACKS = {**FRAMEWORKS, **BASES, **SINGLE}


def only(*frameworks: str, of: dict[str, dict[str, str]] = STACKS) -> list[str]:
    """Return the names of the stacks in `of` whose framework is one of `frameworks`."""
    return [name for name, answers in of.items() if answers["framework"] in frameworks]


SERVICES = only("django", "fastapi")
MULTI_STAGE = [*FRAMEWORKS, *BASES]
