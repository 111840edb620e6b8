"""What `kubectl apply -k examples/kubernetes` would send, and what KEDA would ask for and get."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heori import Producer
from tests.deploy.manifests import DOCUMENTS, KUBERNETES, PODS, PROBES, ROOT, known_of
from tests.grafana.prometheus import Prometheus
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import serving
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


@pytest.fixture(scope="module")
def sent() -> dict[tuple[str, str], dict[str, Any]]:
    """What would be sent, by kind and name."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    words = ("kubectl", "kustomize", str(KUBERNETES))
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not said.stderr  # where kustomize warns
    documents = yaml.load_all(said.stdout, Loader=yaml.CSafeLoader)
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def test_all_that_is_sent_is_what_its_schema_allows(
    sent: dict[tuple[str, str], dict[str, Any]],
) -> None:
    assert DOCUMENTS.items() <= sent.items()
    for document in sent.values():
        assert known_of(document) == document
        assert document["metadata"].get("namespace", "heori") == "heori"


def test_all_dashboards_and_rules_are_sent(sent: dict[tuple[str, str], dict[str, Any]]) -> None:
    for file in (ROOT / "grafana/dashboards").glob("*.json"):
        board = sent["ConfigMap", f"heori-dashboard-{file.stem}"]
        assert board["data"] == {file.name: file.read_text()}, "grafana/kustomization.yaml lists it"
        assert board["metadata"]["labels"] == {"grafana_dashboard": "1"}
        # As much as `kubectl apply` can remember of it.
        assert file.stat().st_size < 200_000
    boards = [name for _, name in sent if name.startswith("heori-dashboard-")]
    assert len(boards) == len(list((ROOT / "grafana/dashboards").iterdir()))
    rules = sent["ConfigMap", "heori-rules"]["data"]
    assert set(rules) == {path.name for path in (ROOT / "grafana/prometheus").glob("*.yml")} - {
        "prometheus.yml"
    }


def test_long_jobs_have_consumers_of_their_own(
    sent: dict[tuple[str, str], dict[str, Any]],
) -> None:
    deployment = sent["Deployment", "consumer-long"]["spec"]
    labels = {"app": "consumer-long"}
    assert deployment["selector"]["matchLabels"] == labels
    assert labels.items() <= deployment["template"]["metadata"]["labels"].items()
    assert sent["PodDisruptionBudget", "consumer-long"]["spec"]["selector"]["matchLabels"] == labels
    pod = deployment["template"]["spec"]
    for spread in pod["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    [container] = pod["containers"]
    [grace] = [each["value"] for each in container["env"] if each["name"] == "HEORI_GRACE"]
    assert pod["terminationGracePeriodSeconds"] >= float(grace) + 10
    scaled = sent["ScaledObject", "consumer-long"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "consumer-long"
    [trigger] = scaled["triggers"]
    assert re.findall(r'queues="([^"]*)"', trigger["metadata"]["query"]) == ["long"]
    # The short ones are as they were.
    assert sent["Deployment", "consumer"] == DOCUMENTS["Deployment", "consumer"]
    assert sent["ScaledObject", "consumer"] == DOCUMENTS["ScaledObject", "consumer"]


def test_keda_is_told_how_many_consumers_there_should_be_for_the_jobs_of_tenants_too(
    consume: Callable[..., Consumer], producer: Producer, tmp_path: Path
) -> None:
    [trigger] = DOCUMENTS["ScaledObject", "consumer"]["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    gate = tmp_path / "gate"
    for tenant in (None, "a", "b", "b"):
        producer.options(tenant=tenant).submit(sample_tasks.wait_for_file, str(gate))
    for queue in ("stdlib", "other"):
        producer.options(queue=queue).submit(sample_tasks.wait_for_file, str(gate))
    [container] = DOCUMENTS["Deployment", "consumer"]["spec"]["template"]["spec"]["containers"]
    _, *args = container["args"]
    consumers = [
        consume(*args, "--slots", "2", HEORI_TARGET_WAIT="0.1").ready(),
        consume("-q", "other", queue="other").ready(),  # of another service
    ]
    with Prometheus(tmp_path, [each.url for each in consumers]) as prometheus:
        # Five jobs that take long need a slot each.
        until(lambda: prometheus.values(query) == [3])
        gate.touch()
        until(lambda: prometheus.values(query) == [0])


def test_the_service_answers_its_probes_and_asks_for_its_token(
    redis_url: str, tmp_path: Path
) -> None:
    [container] = PODS["api"]["containers"]
    [variable] = container["env"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert variable["value"] == f"{mounts['tokens']}/token"
    (tmp_path / "token").write_text("a-token-of-some-length")
    with serving(redis_url, **{variable["name"]: str(tmp_path / "token")}) as service:
        for name, path in PROBES.items():
            assert container[name]["httpGet"]["path"] == path
            assert service.ask("GET", path).status == 200
        assert service.ask("GET", "/v1/queues").status == 401
        token = {"Authorization": "Bearer a-token-of-some-length"}
        assert service.ask("GET", "/v1/queues", **token).status == 200
