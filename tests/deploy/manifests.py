"""The manifests of examples/kubernetes as they are written, and what schemas know of them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "examples/kubernetes"
PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def load(file: Path) -> list[dict[str, Any]]:
    """The documents of a file."""
    return list(yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader))


DOCUMENTS = {
    (each["kind"], each["metadata"]["name"]): each
    for file in sorted(KUBERNETES.rglob("*.yaml"))
    if file.name != "kustomization.yaml"
    for each in load(file)
}
PODS = {
    name: each["spec"]["template"]["spec"]
    for (_, name), each in DOCUMENTS.items()
    if "template" in each.get("spec", {})
}


def known_of(document: dict[str, Any]) -> Any:
    """What its schema knows of a manifest."""
    from cloudcoil import resources  # it takes long, and each process of a run reads this file

    read = resources.parse(document)
    assert type(read) is not resources.Resource
    return read.model_dump(mode="json", by_alias=True, exclude_unset=True)
