"""RQ's worker classes with Heori behind them.

    rq worker --worker-class heori.rq.Worker

They are subclasses of `rq.Worker` and `rq.SimpleWorker`, and everything but the loop in `work` is
RQ's own.
"""

from heori.rq.worker import SimpleWorker, Worker

__all__ = ["SimpleWorker", "Worker"]
