"""The manifests for Kubernetes and Swarm: what their schemas allow, and what Heori itself says.

The models of cloudcoil are made from the OpenAPI document of Kubernetes and the resource
definitions of KEDA. `tests/compose` deploys the stack on a real Swarm.
"""

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from heori.cli.app import load as load_command
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings
from heori_consumer.supervisor.endpoint import MetricsEndpoint

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples/kubernetes").glob("*.yaml"))
SWARM = ROOT / "examples/swarm/stack.yaml"


def load(file: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader))


DOCUMENTS = {
    (each["kind"], each["metadata"]["name"]): each for file in FILES for each in load(file)
}
PODS = {
    name: each["spec"]["template"]["spec"]
    for (_, name), each in DOCUMENTS.items()
    if "template" in each.get("spec", {})
}
POD = PODS["consumer"]
[CONTAINER] = POD["containers"]
SETTINGS = DOCUMENTS["ConfigMap", "heori"]["data"]
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


def known_of(document: dict[str, Any]) -> Any:
    """What its schema knows of a manifest."""
    from cloudcoil import resources  # it takes long, and each process of a run reads this file

    read = resources.parse(document)
    assert type(read) is not resources.Resource
    return read.model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize("name", DOCUMENTS, ids="-".join)
def test_a_manifest_is_what_its_schema_allows(name: tuple[str, str]) -> None:
    # What the schema does not know, or knows in another type, would not come back.
    assert known_of(DOCUMENTS[name]) == DOCUMENTS[name]


def test_a_manifest_with_a_mistake_is_noticed() -> None:
    wrong = load(ROOT / "examples/kubernetes/consumer.yaml")[0]
    wrong["spec"]["template"]["spec"]["terminationGraceSeconds"] = 35
    assert known_of(wrong) != wrong


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_variables_are_settings_with_values_that_fit(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = dict(ENVIRONMENTS[where])
    known = {
        str(field.validation_alias or f"HEORI_{name}").upper()
        for name, field in Settings.model_fields.items()
    }
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
    triggers = [trigger["metadata"] for trigger in scaled["triggers"]]
    prefix = SETTINGS.get("RQ_KEY_PREFIX", Settings.model_fields["key_prefix"].default)
    assert [each["listName"] for each in triggers] == [Keys(prefix).queue(name) for name in queues]
    assert scaled["scaleTargetRef"]["name"] == "consumer"
    assert ("Deployment", "consumer") in DOCUMENTS


def test_all_mean_the_same_redis_and_the_same_password() -> None:
    service = DOCUMENTS["Service", "redis"]
    namespace = service["metadata"]["namespace"]
    port = service["spec"]["ports"][0]["port"]
    assert SETTINGS["HEORI_REDIS_URL"] == f"redis://redis:{port}/0"
    for trigger in DOCUMENTS["ScaledObject", "consumer"]["spec"]["triggers"]:
        assert trigger["metadata"]["address"] == f"redis.{namespace}.svc:{port}"
        assert trigger["metadata"]["databaseIndex"] == "0"
    [reference] = DOCUMENTS["TriggerAuthentication", "redis"]["spec"]["secretTargetRef"]
    for pod in PODS.values():
        [secret] = [each["secret"] for each in pod["volumes"] if "secret" in each]
        [container] = pod["containers"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert secret["secretName"] == reference["name"]
        assert f"{mounts['password']}/{reference['key']}" == SETTINGS["HEORI_REDIS_PASSWORD_FILE"]
    labels = DOCUMENTS["StatefulSet", "redis"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    for each in STACK["services"].values():
        assert [secret["source"] for secret in each["secrets"]] == [*STACK["secrets"]]
    assert ENVIRONMENTS["swarm"]["HEORI_REDIS_URL"] == SETTINGS["HEORI_REDIS_URL"]


def test_probes_ask_at_the_port_of_the_image_for_what_heori_serves() -> None:
    [port] = CONTAINER["ports"]
    assert f"HEORI_METRICS_PORT={port['containerPort']}" in (ROOT / "Dockerfile").read_text()
    endpoint = MetricsEndpoint(
        "127.0.0.1", 0, CollectorRegistry(), lambda: (True, {}), lambda: True
    )
    try:
        probes = {name: probe["httpGet"] for name, probe in CONTAINER.items() if "Probe" in name}
        assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
        for probe in probes.values():
            assert probe["port"] == port["name"]
            with urllib.request.urlopen(endpoint.url + probe["path"], timeout=5) as answer:
                assert answer.status == 200
        assert probes["readinessProbe"]["path"] == "/readyz"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{endpoint.url}/nothing", timeout=5)
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
    user = pod["securityContext"]["runAsUser"]
    service = STACK["services"][name]
    assert [secret["uid"] for secret in service["secrets"]] == [str(user)]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_no_manifest_names_a_registry() -> None:
    images = [each["image"] for pod in PODS.values() for each in pod["containers"]]
    images += [meant(each["image"]) for each in STACK["services"].values()]
    assert set(images) == {"heori", "redis:8"}
