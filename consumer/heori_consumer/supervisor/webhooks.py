"""Webhooks of rq's: requests that tell others how a job has ended, once Redis knows it.

As in rq 3.0.0 (``rq/webhook.py``) each is tried once, and what comes of it changes nothing for the
job. They are sent by threads of their own, so that no job waits for whoever is told.
"""

import asyncio
import contextlib
import json
import logging
import queue
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgpack

from heori_common.background import start_thread
from heori_common.errors import cut, summary
from heori_common.protocol.job import (
    FAILED,
    FINISHED,
    RETRIED,
    Claim,
    MalformedJob,
    Outcome,
    parse_time,
)
from heori_common.protocol.payload import decode_failure
from heori_consumer.between.failures import Failure
from heori_consumer.pool.failures import FailureLog

SENDERS = 16  # threads, at most
MOST_WAITING = 10_000  # requests; what is more is dropped, and told
TIMEOUT_S = 10  # where a webhook says nothing

DROPPED = f"{MOST_WAITING} wait to be sent"


class Webhook(NamedTuple):
    """One request to send."""

    claim: Claim
    url: str
    method: str
    headers: Mapping[str, str]
    timeout: float  # seconds
    body: bytes | None

    @classmethod
    def read(cls, claim: Claim, said: Any, payload: Mapping[str, object]) -> "Webhook":
        """One of a job's webhooks, as rq writes and checks it.

        Args:
            payload: what a POST tells.

        Raises:
            ValueError: it is none.
        """
        try:
            url, method = said["url"], said.get("method", "GET")
            headers, timeout = said.get("headers") or {}, said.get("timeout", TIMEOUT_S)
            where = urlsplit(url)
            is_known = where.scheme in ("http", "https") and method in ("GET", "POST")
            if not (is_known and where.netloc and timeout > 0):
                raise ValueError(f"{method} {url} is no request to send")
            headers = {str(name): str(value) for name, value in headers.items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is no webhook: {error!r}") from error
        if method == "GET":
            return cls(claim, url, method, headers, timeout, None)
        body = json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"} | headers
        return cls(claim, url, method, headers, timeout, body)

    def send(self) -> None:
        """Send it; blocks.

        Raises:
            Exception: it did not reach anybody who agrees.
        """
        # Few jobs have webhooks, and a consumer without any does without it.
        from urllib.request import Request, urlopen  # noqa: PLC0415

        request = Request(  # noqa: S310 - its scheme was looked at
            self.url, self.body, dict(self.headers), method=self.method
        )
        with urlopen(request, timeout=self.timeout):  # noqa: S310 - as above
            pass


class Webhooks:
    """Sends those of the jobs of one consumer; used on its event loop."""

    def __init__(self, failures: FailureLog) -> None:
        self._failures = failures
        self._due: queue.SimpleQueue[Webhook] = queue.SimpleQueue()
        self._open = 0  # requests that wait, or are under way
        self._threads = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    def of(self, claim: Claim, outcome: Outcome, *, has_failed: bool = False) -> None:
        """Send what is to be sent of a job that has ended, and which Redis knows to have.

        Args:
            has_failed: in the end, whatever came of it where it ran.
        """
        status = FAILED if has_failed else outcome.status
        if status not in (FINISHED, FAILED):  # it runs again, or was stopped
            return
        try:
            webhooks = _webhooks(claim, outcome, status)
        except (ValueError, RecursionError) as error:
            self._not_sent(claim, str(error))
            return
        for webhook in webhooks:
            if self._open >= MOST_WAITING:
                self._not_sent(claim, DROPPED)
            else:
                self._put(webhook)

    async def settled(self) -> None:
        """Wait until all are sent that were to be."""
        await self._none_open.wait()

    def _put(self, webhook: Webhook) -> None:
        self._open += 1
        self._none_open.clear()
        self._due.put(webhook)
        if self._threads < min(self._open, SENDERS):
            self._threads += 1
            loop = asyncio.get_running_loop()
            start_thread(lambda: self._send_all(loop), f"webhooks-{self._threads}")

    def _send_all(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed, and the consumer ended
            while True:
                webhook, trouble = self._due.get(), ""
                try:
                    webhook.send()
                except Exception as error:  # it is others' business, and rq tells it, too
                    trouble = summary(error)
                loop.call_soon_threadsafe(self._sent, webhook, trouble)

    def _sent(self, webhook: Webhook, trouble: str) -> None:
        if trouble:
            url = cut(webhook.url)
            self._not_sent(webhook.claim, f"{webhook.method} {url}: {trouble}", url)
        self._open -= 1
        if not self._open:
            self._none_open.set()

    def _not_sent(self, claim: Claim, why: str, place: str = "") -> None:
        event, queue = "a webhook was not sent", claim.queue
        failure = Failure(event, "queue", queue, place, why, claim.job_id, 1, logging.WARNING)
        self._failures.add([failure])


def _webhooks(claim: Claim, outcome: Outcome, status: str) -> list[Webhook]:
    """Those of a job that are for this end.

    Raises:
        ValueError: its webhooks are none.
    """
    packed = iter(msgpack.unpackb(claim.rest, raw=True))
    fields = dict(zip(packed, packed, strict=True))
    if b"webhooks" not in fields and b"" in fields:
        raise MalformedJob("its record is too large to be read for them")
    listed = json.loads(fields.get(b"webhooks") or b"[]")
    if not isinstance(listed, list):
        raise MalformedJob("its webhooks are no list")
    try:
        enqueued = parse_time("enqueued_at", fields.get(b"enqueued_at"))
    except MalformedJob:  # it was told as the job's failure
        enqueued = None
    payload = {
        "job_id": claim.job_id,
        "func_name": outcome.called or outcome.task,
        "status": status,
        "enqueued_at": enqueued and enqueued.isoformat(),
        "ended_at": datetime.now(UTC).isoformat(),
    }
    if status == FAILED:
        has_returned = outcome.status == RETRIED  # more often than it may, and nothing has raised
        payload["exc_info"] = "" if has_returned else decode_failure(outcome.body or b"")
    return [
        Webhook.read(claim, each, payload)
        for each in listed
        if not isinstance(each, dict) or each.get("job_status") == status
    ]
