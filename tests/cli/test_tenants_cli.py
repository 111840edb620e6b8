"""`heori tenants`, as a person and as a script use it."""

import json

import pytest

from tests.rigs.commands import Heori
from tests.rigs.script_bench import Bench
from tests.rigs.tenants import flood


def test_tenants_are_listed_with_what_waits_and_their_shares(heori: Heori, bench: Bench) -> None:
    assert heori("tenants", "default").stdout == "default has no tenants.\n"
    flood(bench, "acme", 30)
    flood(bench, "late", 10)
    weighed = heori("tenants", "default", "--weight", "acme=3", "--weight", "none=0.5", "--json")
    rows = {row["tenant"]: row for row in json.loads(weighed.stdout)["tenants"]}
    assert list(rows) == ["", "acme", "late", "none"]
    assert {name: row["weight"] for name, row in rows.items()} == {
        "": 1, "acme": 3, "late": 1, "none": 0.5,
    }  # fmt: skip
    assert {name: row["share"] for name, row in rows.items()} == {
        "": None, "acme": 0.75, "late": 0.25, "none": None,
    }  # fmt: skip
    assert rows["acme"]["waiting"] == 30
    shown = heori("tenants", "default").stdout
    assert "Tenants of default" in shown
    assert "75%" in shown


@pytest.mark.parametrize("weight", ["acme", "acme=0", "a b=3", "acme=nan"])
def test_a_weight_that_makes_no_sense_is_refused(heori: Heori, weight: str) -> None:
    refused = heori("tenants", "default", "--weight", weight)
    assert refused.returncode == 2
    assert weight.partition("=")[0] in refused.stderr
