"""A pytest plugin for rq's own tests: Heori's worker classes in place of rq's, and what came of it.

`rq` itself, its command line and its pool take the classes from the same places as applications do.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import rq.worker
from rq.worker import worker_classes

from heori.rq import SimpleWorker, Worker
from heori.rq.worker import Engine

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_outcomes: dict[str, str] = {}
_ways: Counter[str] = Counter()


def _replace() -> None:
    ours = {rq.worker.Worker: Worker, rq.worker.SimpleWorker: SimpleWorker}
    # rq's other classes of workers stand on its own.
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "rq" and module is not worker_classes:
            for attribute, value in list(vars(module).items()):
                if isinstance(value, type) and value in ours:
                    setattr(module, attribute, ours[value])


def _count() -> None:
    """Count in which way each call of `work` was done."""
    work = Engine.work

    def counted(self: Engine, *arguments: Any, **options: Any) -> bool:
        try:
            return work(self, *arguments, **options)
        finally:
            _ways[self.heori_way] += 1

    Engine.work = counted  # type: ignore[method-assign]


_replace()
_count()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst that came of each phase of a test."""
    if report.outcome == FAILED or report.nodeid not in _outcomes or report.outcome == SKIPPED:
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    """Tell whoever has started this."""
    told = {"outcomes": _outcomes, "ways": _ways}
    Path(os.environ["RQ_SUITE_REPORT"]).write_text(json.dumps(told), encoding="utf-8")
