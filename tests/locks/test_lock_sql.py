"""The fence in SQL: a column and a condition refuse the writes of those who are too late."""

import contextlib
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heori import FencedOut, Mutex, require
from tests.rigs.lock_rig import thread
from tests.rigs.waiting import until

pytestmark = pytest.mark.usefixtures("no_lock_is_left")


def test_the_sql_pattern_refuses_one_who_is_too_late() -> None:
    update = "UPDATE account SET balance = ?, fence = ? WHERE id = 5 AND fence <= ?"
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE account (id INTEGER, balance INTEGER, fence INTEGER)")
        database.execute("INSERT INTO account VALUES (5, 0, 0)")
        fences = []
        for _ in range(2):
            with Mutex("account:5") as lock:
                fences.append(lock.fence)
        early, late = fences
        require(database.execute(update, (1, late, late)).rowcount, late)
        require(database.execute(update, (2, late, late)).rowcount, late)
        with pytest.raises(FencedOut, match=str(early)):
            require(database.execute(update, (3, early, early)).rowcount, early)
        assert database.execute("SELECT balance, fence FROM account").fetchone() == (2, late)


UPDATE = "UPDATE account SET balance = %s, fence = %s WHERE id = 5 AND fence <= %s"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, on a socket that only this user reaches; gives how to connect."""
    programs = _programs()
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user is not None and user not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with tempfile.TemporaryDirectory(prefix="heori-postgres-") as directory:
        if user is not None:
            shutil.chown(directory, user)

        def run(*words: str) -> None:
            subprocess.run(words, user=user, cwd=directory, capture_output=True, check=True)

        data = str(Path(directory, "data"))
        run(programs["initdb"], "-D", data, "-A", "trust", "-U", "heori", "--no-sync")
        # Without standard streams of ours, it would keep them open and so the caller waiting.
        options = f"-k {directory} -c listen_addresses='' -c fsync=off"
        log = str(Path(directory, "log"))
        run(programs["pg_ctl"], "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield f"host={directory} user=heori dbname=postgres"
        finally:
            run(programs["pg_ctl"], "-D", data, "-m", "immediate", "-w", "stop")


def _programs() -> dict[str, str]:
    """Where Debian, or the search path, has the programs of the server."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join([*places, os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in ("initdb", "pg_ctl")}
    if None in found.values():
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    return {name: place for name, place in found.items() if place}


@pytest.fixture
def connections(postgres: str) -> Iterator[tuple[Any, Any]]:
    """Two, to a database with one account."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg needs libpq", exc_type=ImportError)
    with psycopg.connect(postgres) as one, psycopg.connect(postgres) as other:
        one.execute("CREATE TABLE account (id integer, balance integer, fence bigint)")
        one.execute("INSERT INTO account VALUES (5, 0, 0)")
        one.commit()
        yield one, other
        one.rollback()
        other.rollback()
        one.execute("DROP TABLE account")
        one.commit()


def two_fences() -> list[int]:
    fences = []
    for _ in range(2):
        with Mutex("account:5") as lock:
            fences.append(lock.fence)
    return fences


def test_postgresql_refuses_one_who_is_too_late(connections: tuple[Any, Any]) -> None:
    database, _ = connections
    early, late = two_fences()
    require(database.execute(UPDATE, (1, late, late)).rowcount, late)
    with pytest.raises(FencedOut, match=str(early)):
        require(database.execute(UPDATE, (2, early, early)).rowcount, early)
    require(database.execute(UPDATE, (3, late, late)).rowcount, late)
    assert database.execute("SELECT balance, fence FROM account").fetchone() == (3, late)


def test_postgresql_looks_again_when_the_later_one_has_not_committed_yet(
    connections: tuple[Any, Any],
) -> None:
    first, second = connections
    early, late = two_fences()
    require(first.execute(UPDATE, (1, late, late)).rowcount, late)
    with thread(lambda: second.execute(UPDATE, (2, early, early)).rowcount) as join:
        until(lambda: waits_for_a_row(first))
        first.commit()
        with pytest.raises(FencedOut):
            require(join(), early)
    second.rollback()
    assert first.execute("SELECT balance, fence FROM account").fetchone() == (1, late)


def waits_for_a_row(database: Any) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(database.execute(waiting).fetchone()[0])
