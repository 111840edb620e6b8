"""Prometheus' configuration and rules, checked and tried by its own promtool."""

import re

from tests.grafana.boards import PROMETHEUS
from tests.grafana.prometheus import promtool

RULES = "".join(path.read_text() for path in PROMETHEUS.glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


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


def test_a_message_has_whole_numbers_and_names_no_address() -> None:
    for rule in RULES.split("- alert: ")[1:]:
        if "$value" in (summary := rule.partition("summary: ")[2].partition("\n")[0]):
            is_round = re.search(r"expr:( \|\n)?\s+round\(", rule)
            assert is_round or "$value | printf `%.0f`" in summary, summary
    assert "instance" not in RULES.replace("{regex: instance, action: labeldrop}", "")


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in RULES.split("- alert: ")[1:]:
        name, _, body = rule.partition("\n")
        assert re.search(r"^ +summary: \S", body, re.MULTILINE), name
        assert len(body.partition("description: >-")[2].split()) > 25, name
        assert "severity: " in body, name
