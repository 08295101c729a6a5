"""OCI archives as the platforms' jobs hand them over, without a build."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIGURATION = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
IN_TOTO = "application/vnd.in-toto+json"


def write_image(archive: Path, architecture: str, labels: Mapping[str, str] | None = None) -> str:
    """Write an image of an architecture as an OCI archive, below an index as BuildKit does.

    Returns the digest of its manifest.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
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
        configuration = {
            **platform,
            "config": {"Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [identity]},
        }
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


def top_manifests(archive: Path) -> list[dict[str, Any]]:
    """Return what the first document of an OCI archive lists."""
    with tarfile.open(archive) as tar:
        index: dict[str, Any] = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    manifests: list[dict[str, Any]] = index["manifests"]
    return manifests
