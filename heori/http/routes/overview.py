"""The route of the overview: is it healthy?"""

from typing import Literal

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, Field

from heori.http.monitor import MOST_AGE_S, Monitor
from heori.http.responses import answer, responses


class AlertRecord(BaseModel):
    """One thing that somebody should know."""

    level: Literal["bad", "warning", "note"]
    says: str
    todo: str = Field(description="What to do about it.")


class OverviewRecord(BaseModel):
    """How all is now; rates are of the ten seconds before."""

    alerts: list[AlertRecord] = Field(description="The worst first; empty when all is well.")
    sent: float = Field(description="Jobs a second that come in.")
    done: float = Field(description="Jobs a second.")
    failed: float = Field(description="Of these.")
    waiting: int
    running: int
    slots: int
    consumers: int
    wanted_consumers: int | None = Field(
        description="Consumers like these that there should be, so that no job waits for longer "
        "than HEORI_TARGET_WAIT; null when none tells."
    )
    gil: float | None = Field(description="The mean share of their time that workers lose.")


def add(router: APIRouter, monitor: Monitor) -> None:
    """Add it."""

    @router.get(
        "/overview",
        response_model=OverviewRecord,
        responses=responses(503),
        tags=["overview"],
        operation_id="overview",
    )
    def overview() -> Response:
        """What is wrong now, with what to do about it; what comes in, is done and waits.

        The first who asks waits until everything has been read.
        """
        seen = monitor.look(MOST_AGE_S)
        if seen.trouble:  # which may name the address, as callers need not know
            raise HTTPException(503, "nothing new can be read of Redis; try again")
        if not seen.points:
            raise HTTPException(503, "nothing has been read yet; try again")
        now = seen.points[-1].record()
        del now["at"]
        overview = seen.overview
        now["consumers"] = sum(row.answers for row in overview.consumers) if overview else 0
        now["wanted_consumers"] = overview.wanted if overview else None
        return answer({"alerts": [alert.record() for alert in seen.alerts], **now})
