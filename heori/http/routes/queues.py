"""The routes of queues."""

from dataclasses import asdict

from fastapi import APIRouter, HTTPException, Response

from heori.http import responses as answers
from heori.http.backend import Backend
from heori.http.responses import answer, responses
from heori.inspect.queues import read_queues
from heori_common.printable import printable


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/queues",
        response_model=list[answers.QueueRecord],
        responses=responses(503),
        tags=["queues"],
        operation_id="queues",
    )
    def queues() -> Response:
        """What is in the queues; null for what cannot be read."""
        reader = backend.reader()
        found = read_queues(reader)
        if reader.unreadable and not found:  # the list of the queues itself
            raise HTTPException(503, "; ".join(reader.problems()))
        named = ({"queue": printable(name), **asdict(of)} for name, of in found.items())
        return answer(list(named))
