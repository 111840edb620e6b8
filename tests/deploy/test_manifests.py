"""The manifests for Kubernetes and Swarm: what their schemas allow, and what Heori itself says.

The models of cloudcoil are made from the OpenAPI document of Kubernetes and the resource
definitions of KEDA and of Prometheus' operator. `tests/compose` deploys the stack on a real Swarm.
"""

import re
import subprocess
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from heori.cli.app import load as load_command
from heori_common.settings import Settings, variable_of
from heori_consumer.supervisor.endpoint import MetricsEndpoint
from tests.deploy.manifests import DOCUMENTS, KUBERNETES, PODS, PROBES, ROOT, known_of, load

RULES = [ROOT / f"grafana/prometheus/{name}.yml" for name in ("alerts", "recording")]
SWARM = ROOT / "examples/swarm/stack.yaml"
POD = PODS["consumer"]
[CONTAINER] = POD["containers"]
SETTINGS = DOCUMENTS["ConfigMap", "heori"]["data"]
VERSION = version("heori")
STACK = load(SWARM)[0]


def meant(text: str, **values: str) -> str:
    """What Docker makes of a text with ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: values.get(m[1], m[2]), text)


SERVICE = STACK["services"]["consumer"]
ENVIRONMENTS = {
    "kubernetes": SETTINGS,
    "swarm": {name: meant(str(value)) for name, value in SERVICE["environment"].items()},
}
COMMANDS = {"kubernetes": CONTAINER["args"], "swarm": meant(SERVICE["command"]).split()}


def consumed(args: list[str]) -> list[str]:
    """The queues of a command line that `heori` takes."""
    name, *rest = args
    queues: list[str] = load_command(name).make_context(name, rest).params["queue"]
    return queues


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("name", DOCUMENTS, ids="-".join)
def test_a_manifest_is_what_its_schema_allows(name: tuple[str, str]) -> None:
    # What the schema does not know, or knows in another type, would not come back.
    assert known_of(DOCUMENTS[name]) == DOCUMENTS[name]


def test_a_manifest_with_a_mistake_is_noticed() -> None:
    wrong = load(KUBERNETES / "consumer/consumer.yaml")[0]
    wrong["spec"]["template"]["spec"]["terminationGraceSeconds"] = 35
    assert known_of(wrong) != wrong


def test_the_rules_are_what_prometheus_operator_takes() -> None:
    script = str(KUBERNETES / "rules.sh")
    said = subprocess.run(["sh", script], capture_output=True, text=True, check=True).stdout
    written = list(yaml.load_all(said, Loader=yaml.CSafeLoader))
    files = [load(file)[0] for file in sorted(RULES)]
    assert [each["spec"] for each in written] == files[::-1]
    for each in written:
        assert known_of(each)["spec"].keys() == {"groups"}
        assert known_of(each)["metadata"] == each["metadata"]


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_variables_are_settings_with_values_that_fit(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = dict(ENVIRONMENTS[where])
    known = {variable_of(name) for name in Settings.model_fields}
    assert environment.keys() <= known
    secret = tmp_path / "password"
    secret.write_text("x")
    environment["HEORI_REDIS_PASSWORD_FILE"] = str(secret)
    settings = settings_of(environment, monkeypatch)
    assert (settings.grace, settings.lease) == (
        Settings.model_fields["grace"].default,
        Settings.model_fields["lease"].default,
    )
    assert settings.tasks == ("heori.examples.tasks",)


def test_a_consumer_has_its_grace_before_it_is_killed() -> None:
    assert POD["terminationGracePeriodSeconds"] >= float(SETTINGS["HEORI_GRACE"]) + 10
    grace = float(ENVIRONMENTS["swarm"]["HEORI_GRACE"])
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_the_queues_that_are_served_are_those_that_are_scaled_by() -> None:
    queues = consumed(CONTAINER["args"])
    assert consumed(COMMANDS["swarm"]) == queues
    scaled = DOCUMENTS["ScaledObject", "consumer"]["spec"]
    [query] = [trigger["metadata"]["query"] for trigger in scaled["triggers"]]
    assert re.findall(r'queues="([^"]*)"', query) == [",".join(queues)]
    assert scaled["scaleTargetRef"]["name"] == "consumer"
    assert ("Deployment", "consumer") in DOCUMENTS


def test_all_mean_the_same_redis_and_the_same_password() -> None:
    service = DOCUMENTS["Service", "redis"]
    port = service["spec"]["ports"][0]["port"]
    assert SETTINGS["HEORI_REDIS_URL"] == f"redis://redis:{port}/0"
    for pod in PODS.values():
        [secret] = [each["secret"] for each in pod["volumes"] if each["name"] == "password"]
        [container] = pod["containers"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert (
            secret["secretName"] == "redis"
        )  # whose key is `password`, as kustomization.yaml says
        assert f"{mounts['password']}/password" == SETTINGS["HEORI_REDIS_PASSWORD_FILE"]
    labels = DOCUMENTS["StatefulSet", "redis"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    for each in STACK["services"].values():
        assert [secret["source"] for secret in each["secrets"]] == [*STACK["secrets"]]
    assert ENVIRONMENTS["swarm"]["HEORI_REDIS_URL"] == SETTINGS["HEORI_REDIS_URL"]


def test_probes_ask_at_the_port_of_the_image_for_what_heori_serves() -> None:
    [port] = CONTAINER["ports"]
    assert f"HEORI_METRICS_PORT={port['containerPort']}" in (ROOT / "Dockerfile").read_text()
    endpoint = MetricsEndpoint("127.0.0.1", 0, CollectorRegistry, lambda: (True, {}), lambda: True)
    try:
        probes = {name: probe["httpGet"] for name, probe in CONTAINER.items() if "Probe" in name}
        for probe in probes.values():
            assert probe["port"] == port["name"]
            with urllib.request.urlopen(endpoint.url + probe["path"], timeout=60) as answer:
                assert answer.status == 200
        assert {name: probe["path"] for name, probe in probes.items()} == PROBES
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{endpoint.url}/nothing", timeout=60)
    finally:
        endpoint.close()


@pytest.mark.parametrize("name", PODS)
def test_nothing_runs_as_root_or_may_become_so(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", STACK["services"])
def test_swarm_runs_as_the_users_that_kubernetes_does(name: str) -> None:
    service = STACK["services"][name]
    user = PODS[name]["securityContext"]["runAsUser"]
    assert [secret["uid"] for secret in service["secrets"]] == [str(user)]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_no_manifest_names_a_registry_and_each_image_has_a_version() -> None:
    images = {each["image"] for pod in PODS.values() for each in pod["containers"]}
    assert images == {f"heori:{VERSION}", "redis:8"}
    swarm = {meant(each["image"]) for each in STACK["services"].values()}
    assert swarm == {f"heori:{VERSION}", "redis:8"}


def test_each_policy_opens_ports_that_pods_have_and_redis_is_for_its_clients() -> None:
    policies = [each["spec"] for (kind, _), each in DOCUMENTS.items() if kind == "NetworkPolicy"]
    opened = set()
    for rule in [(policy, rule) for policy in policies for rule in policy.get("ingress", ())]:
        policy, ingress = rule
        for pod in selected(policy["podSelector"]):
            ports = {port["name"] for each in PODS[pod]["containers"] for port in each["ports"]}
            asked = {port["port"] for port in ingress["ports"]}
            assert asked <= ports
            opened |= {(pod, port) for port in asked}
    assert opened == {("redis", "redis"), ("consumer", "metrics"), ("api", "http")}
    clients = {name for name, pod in PODS.items() if "envFrom" in pod["containers"][0]}
    assert clients == set(selected({"matchLabels": {"redis": "client"}}))


def test_what_selects_pods_selects_its_own() -> None:
    for (kind, name), document in DOCUMENTS.items():
        selector = document.get("spec", {}).get("selector")
        if kind == "Service":
            selector = {"matchLabels": selector}
        if kind in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert selected(selector) == [name], (kind, name)
    for name, pod in PODS.items():
        for spread in pod.get("topologySpreadConstraints", ()):
            assert selected(spread["labelSelector"]) == [name]
    monitored = DOCUMENTS["PodMonitor", "heori"]["spec"]
    assert set(selected(monitored["selector"])) == {"consumer", "api"}
    ports = {
        port["name"]
        for name in ("consumer", "api")
        for port in PODS[name]["containers"][0]["ports"]
    }
    assert {each["port"] for each in monitored["podMetricsEndpoints"]} == ports


def selected(selector: dict[str, Any]) -> list[str]:
    """The names of what makes pods with such labels."""
    found = []
    for (_, name), document in DOCUMENTS.items():
        if name in PODS and "template" in document.get("spec", {}):
            labels = document["spec"]["template"]["metadata"]["labels"]
            expressions = selector.get("matchExpressions", ())
            if selector.get("matchLabels", {}).items() <= labels.items() and all(
                labels.get(each["key"]) in each["values"] for each in expressions
            ):
                found.append(name)
    return found
