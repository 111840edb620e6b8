"""The unit for systemd: a consumer that is started and stopped as systemd does it.

No systemd runs these tests: they read the unit, listen where systemd listens, and send what its
`systemctl stop` sends with that unit's KillMode, SIGTERM and SIGCONT to all processes at once.
"""

import configparser
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heori import Producer
from heori.cli.app import load as load_command
from heori_common.settings import Settings
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import is_alive, until
from tests.tasks import sample_tasks

UNIT = Path(__file__).parents[2] / "examples/systemd/heori@.service"


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """It reads the unit, with a program that is there in the place of heori, and starts nothing."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not there")
    copy = tmp_path / "heori@orders.service"
    copy.write_text(UNIT.read_text().replace("/opt/myapp/.venv/bin/heori", "/bin/true"))
    checked = subprocess.run(
        [analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    about_it = [line for line in checked.stderr.splitlines() if "heori" in line]
    assert about_it == []


def test_the_unit_starts_a_command_that_there_is_and_gives_a_drain_its_time(
    service: configparser.SectionProxy,
) -> None:
    program, _, arguments = service["ExecStart"].partition(" ")
    assert Path(program).name == "heori"
    command, *rest = arguments.replace("%i", "orders").split()
    load_command(command).make_context(command, rest)
    assert "KillMode" not in service
    assert float(service["TimeoutStopSec"]) > Settings().grace


def test_a_consumer_tells_systemd_that_it_is_there_and_drains_as_it_is_stopped(
    service: configparser.SectionProxy,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    tmp_path: Path,
) -> None:
    assert service["Type"] == "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(60)
        systemd.bind(str(tmp_path / "notify"))
        consumer = consume(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(100) == b"READY=1"
        consumer.ready()
        handle = producer.submit(sample_tasks.hold, redis_url, "unit")
        assert redis.blpop(["unit:running"], timeout=60)
        family = consumer.family
        consumer.signal_group(signal.SIGTERM)
        consumer.signal_group(signal.SIGCONT)
        assert systemd.recv(100) == b"STOPPING=1"
        redis.rpush("unit:go", "now")
        assert consumer.join() == 0
    assert handle.result(60) == "unit"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1"
    until(lambda: not any(is_alive(each) for each in family))
