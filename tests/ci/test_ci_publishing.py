"""What is published where a machine's own builds cannot show it: two architectures, attestations."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.host_python import environment
from helpers.pipelines import GITHUB_EVENTS, CheckOut, document, on
from helpers.private_access import (
    Contexts,
    Engine,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIGURATION = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
IN_TOTO = "application/vnd.in-toto+json"


def write_image(archive: Path, architecture: str) -> str:
    """Write an image of an architecture as an OCI archive, below an index as BuildKit does.

    Returns the digest of its manifest.
    """
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        def blob(kind: str, content: bytes) -> dict[str, Any]:
            digest = hashlib.sha256(content).hexdigest()
            add(f"blobs/sha256/{digest}", content)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

        def listed(kind: str, **fields: Any) -> dict[str, Any]:
            return {"schemaVersion": 2, "mediaType": kind, **fields}

        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as files:
            files.addfile(tarfile.TarInfo(f"built-for-{architecture}"))
        content = layer.getvalue()
        platform = {"architecture": architecture, "os": "linux"}
        identity = f"sha256:{hashlib.sha256(content).hexdigest()}"
        configuration = {**platform, "rootfs": {"type": "layers", "diff_ids": [identity]}}
        image = listed(
            MANIFEST,
            config=blob(CONFIGURATION, json.dumps(configuration).encode()),
            layers=[blob(LAYER, gzip.compress(content, mtime=0))],
        )
        entry = blob(MANIFEST, json.dumps(image).encode())
        index = listed(INDEX, manifests=[entry | {"platform": platform}])
        top = listed(INDEX, manifests=[blob(INDEX, json.dumps(index).encode())])
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps(top).encode())
    return str(entry["digest"])


@pytest.mark.usefixtures("skopeo")
@on("job")
def test_github_publishes_one_image_of_two_architectures(
    name: str, branch: CheckOut, published: str
) -> None:
    """What the matrix leaves behind with a second runner, by the job that publishes."""
    project = branch(name, "github")
    built = {
        architecture: write_image(
            project.bench.artifacts / f"image-{runner}" / "image.tar", architecture
        )
        for architecture, runner in {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}.items()
    }
    project.edit(".github/workflows/publish.yml", "    needs: ci\n", "")
    project.commit()
    run = project.act(GITHUB_EVENTS["tag"], "--job", "publish")
    assert run.jobs == {"publish": "success"}, run.log
    _, index = document(published, "acme/my-service", "v1.0.0")
    assert index["mediaType"] == INDEX
    found = {m["platform"]["architecture"]: m["digest"] for m in index["manifests"]}
    assert found == built


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
    script = yaml.safe_load((project / ".gitlab-ci.yml").read_text())["container"]["script"]
    [build] = [line for line in script if "buildx bake" in line]
    [keep] = [line for line in script if "docker push" in line]
    assert "production.attest=type=sbom" in build
    outside = tmp_path / "outside.json"
    bases = contexts((project / "Dockerfile").read_text(), exporting)
    targets = {t: {"network": "host", "contexts": bases} for t in ("test", "production")}
    outside.write_text(json.dumps({"target": targets}))
    given = f"docker buildx bake --allow=network.host --allow=fs.read={outside} --file=docker-bake.hcl --file={outside}"
    build = build.replace("docker buildx bake", given).replace(
        "--set production.attest=type=sbom", ""
    )
    variables = {
        "DOCKER_HOST": exporting.address,
        "CI_REGISTRY_IMAGE": f"{published}/acme/attested",
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_SHA": "0123456789abcdef",
        "PUBLISH": "true",
        "VERSION": "main",
        "REVISION": "0123456789abcdef",
    }
    for line in (build, keep):
        ran = subprocess.run(
            ["bash", "-euc", line], cwd=project, env=environment(variables), check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout
    digest, index = document(published, "acme/attested", "0123456789abcdef")
    assert (project / "image.env").read_text() == f"DIGEST={digest}\n"
    [attested] = [
        m for m in index["manifests"]
        if m.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest"
    ]  # fmt: skip
    _, attestations = document(published, "acme/attested", attested["digest"])
    kinds = [a["annotations"]["in-toto.io/predicate-type"] for a in attestations["layers"]]
    assert any(kind.startswith("https://slsa.dev/provenance/") for kind in kinds)
    assert {a["mediaType"] for a in attestations["layers"]} == {IN_TOTO}
