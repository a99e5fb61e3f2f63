"""The manifests in deploy/kubernetes: valid by Kubernetes' own schemas, and true about this splitter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from splitter.config import parse
from splitter.routing import OWN_PATHS

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.31")


def documents() -> list[dict[str, Any]]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return [document for name in listed for document in yaml.safe_load_all((FOLDER / name).read_text())]


def only(kind: str, name: str = "splitter") -> dict[str, Any]:
    (found,) = [d for d in documents() if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def test_every_manifest_is_applied() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_it_is_what_kubernetes_takes(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_check_can_fail() -> None:
    broken = only("Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_selectors_select_the_splitters() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        only("Deployment")["spec"]["selector"]["matchLabels"],
        only("Service")["spec"]["selector"],
        only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    assert only("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == only("Deployment")["metadata"]["name"]
    assert only("HorizontalPodAutoscaler")["spec"]["minReplicas"] == only("Deployment")["spec"]["replicas"]


def test_probes_ask_for_pages_there_are() -> None:
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {path.encode() for path in paths.values()} <= OWN_PATHS
    assert paths["livenessProbe"].endswith("/live")
    assert paths["readinessProbe"].endswith("/ready")


def test_the_configuration_is_one() -> None:
    (text,) = only("ConfigMap")["data"].values()
    config = parse(text, "splitter.yaml", {"SPLITTER_STATE_URL": ""})
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    assert config.state.url.startswith(f"redis://{only('Service', 'splitter-redis')['metadata']['name']}:")
    assert config.listen.port == container["ports"][0]["containerPort"]
    assert config.admin.address.is_loopback
    grace_s = only("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    sleep_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert grace_s > sleep_s + config.limits.drain_timeout_s
