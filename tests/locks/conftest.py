"""What the scripts of the locks are called on."""

from collections.abc import Iterator

import pytest
import redis as redis_py

from tests.rigs.lock_kinds import KINDS
from tests.rigs.lock_table import Table, table_on


@pytest.fixture
def table(redis: redis_py.Redis) -> Iterator[Table]:
    with table_on(redis, Table) as made:
        made.connect(0)
        made.connect(1)
        yield made


@pytest.fixture
def turns_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is handed a lock has its turn, though its process stands still for some seconds."""
    for user in ("commands", "request"):
        monkeypatch.setattr(f"heori_common.locks.{user}.HANDOVER_LEASE_US", 60_000_000)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
