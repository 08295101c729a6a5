"""What GitLab publishes, where a pipeline that runs as a whole cannot show it."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import run
from helpers.host_python import environment
from helpers.oci_images import IN_TOTO, write_image
from helpers.pipelines import (
    GITLAB_KINDS,
    CheckOut,
    document,
    leave_out_after_script,
    on,
)
from helpers.private_access import (
    Contexts,
    Engine,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def shell(line: str, variables: Mapping[str, str], folder: Path | None = None) -> str:
    """Run lines of a job as GitLab's runner does and return what they print.

    It stops at the first failure, also in a pipe. Raises AssertionError with the output.
    """
    ran = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", line], cwd=folder, env=environment(variables), check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def publish(pipeline: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Run the job `publish` of a pipeline on GitLab and return what it prints."""
    return shell("\n".join(pipeline["publish"]["script"]), variables)


@pytest.mark.usefixtures("skopeo")
@pytest.mark.parametrize("ref", ["main", "v1.0.0"])
def test_gitlab_does_not_move_a_tag_back(
    ref: str, check_out: CheckOut, published: str, tmp_path: Path
) -> None:
    """A retried job has its pipeline's variables and artifacts, however old it is.

    https://docs.gitlab.com/ci/jobs/#retry-jobs, and a resource group alone orders nothing:
    https://docs.gitlab.com/ci/resource_groups/#process-modes.
    """
    pipeline = yaml.safe_load(check_out("job", "gitlab").read(".gitlab-ci.yml"))
    repository = f"acme/retried-{ref}"
    tested = {}
    for number in "9", "10":
        archive = tmp_path / number / "image.tar"
        digest = write_image(archive, "amd64", {"com.gitlab.ci.pipelineid": number})
        target = f"docker://{published}/{repository}:pipeline-{number}"
        copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci-archive:{archive}"]
        subprocess.run([*copy, "--preserve-digests", target], check=True)
        tested[number] = digest
    for number, expected in ("9", "9"), ("10", "10"), ("9", "10"), ("10", "10"):
        variables = {
            "CI_REGISTRY_IMAGE": f"{published}/{repository}",
            "CI_COMMIT_REF_NAME": ref,
            "CI_COMMIT_SHA": f"{number:0>40}",
            "CI_PIPELINE_ID": number,
            "DIGEST": tested[number],
        }
        publish(pipeline, variables)
        assert document(published, repository, ref)[0] == tested[expected]


@pytest.mark.usefixtures("skopeo")
@on("job")
def test_gitlab_gives_a_version_tag_the_image_of_its_commit(
    name: str, branch: CheckOut, gitlab: list[str], published: str, tmp_path: Path
) -> None:
    """Once the default branch has published it. Nothing is built again."""
    project = branch(name, "gitlab")
    leave_out_after_script(project)
    commit = project.git("rev-parse", "HEAD").strip()
    digest = write_image(tmp_path / "image" / "image.tar", "amd64")
    target = f"docker://{published}/acme/my-service:sha-{commit}"
    copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests"]
    subprocess.run([*copy, f"oci-archive:{tmp_path}/image/image.tar", target], check=True)
    kind = GITLAB_KINDS["version tag"] | {"CI_COMMIT_TAG": "v2.0.0", "CI_COMMIT_REF_NAME": "v2.0.0"}
    run = project.gitlab(gitlab, kind, "container", "publish")
    assert run.jobs == {"container": "success", "publish": "success"}, run.log
    assert "load build definition" not in run.log
    assert document(published, "acme/my-service", "v2.0.0")[0] == digest


@pytest.mark.xdist_group("private packages")
def test_gitlab_pushes_the_image_with_its_provenance(
    check_out: CheckOut, published: str, exporting: Engine, contexts: Contexts, tmp_path: Path
) -> None:
    """By the commands of its job, in an engine that stores images as Docker's own does since 29.

    An SBOM takes a scanner, an image that has to be pulled.
    """
    if exporting.problem:
        pytest.skip(exporting.problem)
    project = tmp_path / "my-service"
    shutil.copytree(check_out("job", "gitlab").path, project)
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    script = pipeline["container"]["script"]
    [build] = [line for line in script if "buildx bake" in line]
    [keep] = [line for line in script if "docker push" in line]
    sbom = re.search(r"--set production\.attest=type=sbom\S*", build)
    assert sbom
    outside = tmp_path / "outside.json"
    bases = contexts((project / "Dockerfile").read_text(), exporting)
    targets = {t: {"network": "host", "contexts": bases} for t in ("test", "production")}
    outside.write_text(json.dumps({"target": targets}))
    given = f"docker buildx bake --allow=network.host --allow=fs.read={outside} --file=docker-bake.hcl --file={outside}"
    build = build.replace("docker buildx bake", given).replace(sbom[0], "")
    variables = {
        "DOCKER_HOST": exporting.address,
        "CI_REGISTRY_IMAGE": f"{published}/acme/attested",
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_SHA": "0123456789abcdef",
        "CI_PIPELINE_ID": "100",
        "PUBLISH": "true",
        "VERSION": "main",
        "REVISION": "0123456789abcdef",
    }
    for line in (build, keep):
        run("bash", "-euc", line, cwd=project, env=environment(variables))
    digest, index = document(published, "acme/attested", "pipeline-100")
    assert (project / "image.env").read_text() == f"DIGEST={digest}\n"
    [attested] = [
        m for m in index["manifests"]
        if m.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest"
    ]  # fmt: skip
    _, attestations = document(published, "acme/attested", attested["digest"])
    for number in "100", "99":
        said = publish(pipeline, variables | {"CI_PIPELINE_ID": number, "DIGEST": digest})
        assert ("Pipeline 100 has published" in said) == (number == "99")
    kinds = [a["annotations"]["in-toto.io/predicate-type"] for a in attestations["layers"]]
    assert any(kind.startswith("https://slsa.dev/provenance/") for kind in kinds)
    assert {a["mediaType"] for a in attestations["layers"]} == {IN_TOTO}
