"""What is published where a machine's own builds cannot show it: two architectures, attestations."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from helpers.github_registry import github_registry
from helpers.oci_images import INDEX, top_manifests, write_image
from helpers.pipelines import CheckOut, Checkout, Run, document, on, push

pytestmark = pytest.mark.slow

RUNNERS = {"X64": "ubuntu-24.04", "ARM64": "ubuntu-24.04-arm"}
OCI = {"X64": "amd64", "ARM64": "arm64"}


@dataclass(frozen=True)
class Publishing:
    """A project whose lanes are done, but for the job `container`: it has images of a test."""

    project: Checkout
    registry: str

    def build(self, *architectures: str) -> dict[str, str]:
        """Let each runner find an image that it has built and tested; return their digests.

        The steps by which the job hands the image over are its own. They run one after another in
        one job, as act does not combine the outputs of a matrix as GitHub does ("Passing information
        between jobs" in its documentation).
        """
        folder = self.project.bench.folder / "built"
        digests = {}
        for architecture in architectures:
            archive = folder / f"{architecture}.tar"
            digests[architecture] = write_image(archive, OCI[architecture])
        workflow = yaml.safe_load(self.project.read(".github/workflows/ci.yml"))
        workflow["on"] = workflow.pop(True)
        jobs = workflow["jobs"]
        for lane in ("lint", "typecheck", "test"):
            jobs[lane]["steps"] = [{"run": "true"}]
        pushed = "github.event_name == 'push'"
        own = [step for step in jobs["container"]["steps"] if step.get("if") == pushed]
        steps: list[dict[str, Any]] = []
        for architecture in architectures:
            archive = folder / f"{architecture}.tar"
            steps.append({"run": f"rm -rf tested && cp {archive} image.tar"})
            for step in own:
                text = json.dumps(step).replace("${{ matrix.runner }}", RUNNERS[architecture])
                steps.append(json.loads(text) | {"env": {"RUNNER_ARCH": architecture}})
                if "id" in step:
                    steps[-1]["id"] = architecture
        named = {a: f"${{{{ steps.{a}.outputs.{a} }}}}" for a in architectures}
        jobs["container"] |= {"strategy": {}, "outputs": named, "steps": steps}
        jobs["container"]["runs-on"] = "ubuntu-24.04"
        self.project.write(".github/workflows/ci.yml", yaml.safe_dump(workflow, sort_keys=False))
        self.project.commit()
        return digests

    def push(self, ref: str, result: str = "success") -> Run:
        """Run the workflow of a push, which finds only artifacts of its own."""
        run = self.project.act(push(ref))
        assert run.jobs["publish"] == result, run.log
        shutil.rmtree(self.project.bench.artifacts)
        return run

    def published(self, tag: str) -> tuple[str, dict[str, Any]]:
        """Return the digest of what a tag names, and what that says."""
        return document(self.registry, "acme/my-service", tag)

    def tags(self) -> set[str]:
        """Return the tags of the image, none where there is no image."""
        try:
            with urllib.request.urlopen(
                f"http://{self.registry}/v2/acme/my-service/tags/list", timeout=20
            ) as response:
                return set(json.load(response)["tags"])
        except urllib.error.HTTPError:
            return set()


@pytest.fixture
def publishing(branch: CheckOut, empty_registry: str) -> Iterator[Publishing]:
    """A project that publishes to an empty registry, which answers as GitHub's."""
    project = branch("job", "github")
    with github_registry(empty_registry) as address:
        path = ".github/workflows/ci.yml"
        project.write(path, project.read(path).replace(project.bench.host, address))
        bench = replace(project.bench, registry=address)
        yield Publishing(replace(project, bench=bench), empty_registry)


@pytest.mark.usefixtures("skopeo")
@on("job")
@pytest.mark.parametrize("architectures", [["X64"], ["X64", "ARM64"]])
def test_github_publishes_what_each_runner_tested(
    name: str, architectures: list[str], publishing: Publishing
) -> None:
    """And a version tag on the same commit names that image, which is not built again."""
    built = publishing.build(*architectures)
    publishing.push("refs/heads/main")
    digest, index = publishing.published("main")
    if len(architectures) == 1:
        [alone] = index["manifests"]
        assert alone["digest"] == built["X64"]
    else:
        assert index["mediaType"] == INDEX
        found = {m["platform"]["architecture"]: m["digest"] for m in index["manifests"]}
        assert found == {OCI[architecture]: d for architecture, d in built.items()}
    run = publishing.push("refs/tags/v1.0.0")
    assert run.jobs.keys() == {"plan", "required", "publish"}
    assert publishing.published("v1.0.0")[0] == digest


@pytest.mark.usefixtures("skopeo")
@on("job")
def test_the_first_tag_needs_no_image_of_main(name: str, publishing: Publishing) -> None:
    """Where nothing was ever published, GitHub's registry denies even to look."""
    built = publishing.build("X64")
    run = publishing.push("refs/tags/v1.0.0")
    assert "There is none yet" in run.log
    assert built["X64"] in str(publishing.published("v1.0.0"))


@pytest.mark.usefixtures("skopeo")
@on("job")
def test_no_other_artifact_takes_the_place_of_the_image(name: str, publishing: Publishing) -> None:
    publishing.build("X64")
    [top] = top_manifests(publishing.project.bench.folder / "built" / "X64.tar")
    archive = f"{top['digest'].removeprefix('sha256:')}.tar"
    write_image(publishing.project.bench.artifacts / "image-z" / archive, "riscv64")
    run = publishing.push("refs/heads/main", result="failure")
    assert "is not the image that was tested" in run.log
    assert publishing.tags() == set()


@pytest.mark.usefixtures("skopeo")
@on("job")
def test_an_older_run_does_not_move_the_tag_back(name: str, publishing: Publishing) -> None:
    """It publishes its image, which a version tag may name. act's runs have the number 1."""
    publishing.build("X64")
    publishing.project.bench.newest_run.write_text("2\n")
    publishing.push("refs/heads/main")
    commit = publishing.project.git("rev-parse", "HEAD").strip()
    assert publishing.tags() == {f"sha-{commit}"}
    publishing.project.bench.newest_run.write_text("1\n")
    publishing.push("refs/heads/main")
    assert publishing.tags() == {f"sha-{commit}", "main"}


@on("job")
@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("refs/tags/v1.0+x", "No image can have the tag v1.0+x"),
        ("refs/tags/v1/2", "No image can have the tag v1/2"),
        ("refs/tags/main", "The image of the branch main has that tag"),
    ],
)
def test_a_tag_that_no_image_can_have_is_refused(
    name: str, ref: str, said: str, check_out: CheckOut
) -> None:
    run = check_out(name, "github").act(push(ref), "--job", "plan")
    assert run.red == {"plan"}, run.log
    [line] = [line for line in run.log.splitlines() if "::error::" in line and "echo" not in line]
    assert said in line
