"""A Prometheus of the test's own, that scrapes what it is told every other second."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from heori_common.embedded import free_port
from tests.grafana.boards import PROMETHEUS
from tests.rigs.waiting import until

# Seconds between two scrapes, and that each may take: one that is late makes its series stale.
INTERVAL = 2
RATE_INTERVAL = f"{4 * INTERVAL}s"  # as Grafana computes it

CONFIGURATION = """\
global: {{scrape_interval: {interval}s, evaluation_interval: {interval}s}}
rule_files: ['{rules}/recording.yml', '{rules}/alerts.yml']
scrape_configs:
  - job_name: consumer
    static_configs: [{{targets: {targets}}}]
"""


def program(name: str) -> str:
    """Where a program of Prometheus is; the test that needs it is skipped when it is not there."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}, such as from Debian's packages prometheus and promtool")
    return found


def promtool(*arguments: object) -> None:
    """Have Prometheus' own checker find nothing wrong."""
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """Runs until it is left."""

    def __init__(self, folder: Path, consumers: Sequence[str]) -> None:
        targets = [url.removeprefix("http://") for url in consumers]
        configuration = folder / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.format(interval=INTERVAL, rules=PROMETHEUS, targets=json.dumps(targets))
        )
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ]
        )

    def __enter__(self) -> Self:
        until(self._is_ready)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(60)

    def ask(self, what: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=60) as answer:
            return json.load(answer)["data"]

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how they fare."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def values(self, expression: str) -> list[float]:
        """The values of an expression now; neither NaN nor infinity is one."""
        found = self.ask("query", query=expression)["result"]
        numbers = [float(sample["value"][1]) for sample in found]
        return [number for number in numbers if abs(number) < float("inf")]

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "Prometheus ended; its last lines say why"
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
