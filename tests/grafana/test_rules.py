"""Prometheus' configuration and rules, checked and tried by its own promtool."""

import re
import subprocess

from tests.grafana.boards import PROMETHEUS
from tests.grafana.prometheus import program

RULES = "".join(path.read_text() for path in PROMETHEUS.glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments: object) -> None:
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_configuration_and_the_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_rules_record_and_fire_when_they_should_and_not_otherwise() -> None:
    promtool("test", "rules", *TESTS)


def test_each_alert_is_seen_to_fire_and_not_to_fire_and_each_record_has_a_value() -> None:
    tests = "".join(path.read_text() for path in TESTS)
    for alert in re.findall(r"- alert: (\w+)", RULES):
        fires = rf'- labels: (>-\s+)?ALERTS{{alertname="{alert}", alertstate="firing"'
        assert re.search(fires, tests), f"{alert} is never seen to fire"
        quiet = rf'expr: \'ALERTS{{alertname="{alert}"}}\', eval_time: \w+, exp_samples: \[\]'
        assert re.search(quiet, tests), f"{alert} is never seen not to fire"
    for record in re.findall(r"- record: (\S+)", RULES):
        assert f"labels: '{record}{{" in tests, f"{record} is never seen to have a value"


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in RULES.split("- alert: ")[1:]:
        name, _, body = rule.partition("\n")
        assert re.search(r"^ +summary: \S", body, re.MULTILINE), name
        assert len(body.partition("description: >-")[2].split()) > 25, name
        assert "severity: " in body, name
