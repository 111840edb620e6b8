"""Locks: who waits for mutexes and semaphores, for how long, and what went wrong with them."""

from grafana.board import Board, Line
from grafana.colours import GREEN, ORANGE, RED
from grafana.panels import EACH_MINUTE, EACH_SECOND, lines, number
from grafana.promql import RATE, SHOWN, quantile
from grafana.queries import SHARE, Query
from heori_common import metrics

CONSUMERS = 'consumer=~"$consumer"'

NO_CONSUMER = "No consumer answers"
NOT_TAKEN = "No lock was taken in the time shown"


def board() -> Board:
    """The dashboard."""
    made = Board(
        "locks",
        "Locks",
        "Mutexes and semaphores: how long is waited for them, how long they are held, and whether "
        "any was lost.",
        ["model", "consumer"],
    )
    course, *by_lock = _waits()
    made.top(_at_a_glance(), course)
    made.row("Lock by lock", *by_lock)
    made.row("What goes wrong", _troubles())
    return made


def _at_a_glance() -> Line:
    def lately(metric: metrics.Metric) -> str:
        return f"round(sum(increase({metric}{{{CONSUMERS}}}{SHOWN})))"

    return [
        number(
            "Waiting now",
            "How many wait for a lock at this moment. A few is what locks are for.",
            "none",
            f"sum({metrics.LOCK_WAITERS}{{{CONSUMERS}}}) or vector(0)",
            empty=NO_CONSUMER,
        ),
        number(
            "Wait, 95%",
            "Of a hundred that asked for a lock, 95 got it faster: orange from a second, red from "
            "ten.",
            "s",
            quantile(0.95, metrics.LOCK_WAIT, CONSUMERS),
            [(None, GREEN), (1, ORANGE), (10, RED)],
            empty=NOT_TAKEN,
        ),
        number(
            "Held, 95%",
            "How long a lock is held. Whoever waits, waits at least for that: hold locks briefly.",
            "s",
            quantile(0.95, metrics.LOCK_HOLD, CONSUMERS),
            empty=NOT_TAKEN,
        ),
        number(
            "Deadlocks",
            "Circles of owners that waited for each other, in the time shown. Each was found and "
            "broken; take locks in one order, or with `acquire_all`.",
            "none",
            lately(metrics.LOCK_DEADLOCKS),
            [(None, GREEN), (1, RED)],
            empty=NO_CONSUMER,
        ),
        number(
            "Lost while held",
            "Locks whose lease ran out before they were released, in the time shown: the holder "
            "was stopped, or away from Redis.",
            "none",
            lately(metrics.LOCKS_LOST),
            [(None, GREEN), (1, RED)],
            empty=NO_CONSUMER,
        ),
        number(
            "Writes fenced off",
            "Writes of former holders that the fencing token refused, in the time shown: damage "
            "that was prevented.",
            "none",
            lately(metrics.FENCE_REJECTIONS),
            [(None, GREEN), (1, ORANGE)],
            empty=NO_CONSUMER,
        ),
    ]


def _waits() -> list[Line]:
    def course(metric: metrics.Metric) -> list[Query]:
        shares = ((0.5, "half"), (0.95, "95%"), (0.99, "99%"))
        return [Query(quantile(share, metric, CONSUMERS), name) for share, name in shares]

    return [
        [
            lines(
                "How long is waited",
                "From asking to having a lock. Half wait less than the lowest line; above the "
                "dashed line, at ten seconds, an alert fires.",
                "s",
                *course(metrics.LOCK_WAIT),
                limit=10,
                decades=True,
                empty=NOT_TAKEN,
            ),
            lines(
                "How long locks are held",
                "From having to releasing. When this grows, the waits grow with it.",
                "s",
                *course(metrics.LOCK_HOLD),
                decades=True,
                empty=NOT_TAKEN,
            ),
        ],
        [
            lines(
                "Waits by lock, 95%",
                "Which lock is waited for. Locks count as one when their names are the same up to "
                "the first colon, such as account:5 and account:6.",
                "s",
                Query(quantile(0.95, metrics.LOCK_WAIT, CONSUMERS, "lock"), "{{lock}}"),
                decades=True,
                empty=NOT_TAKEN,
            ),
            lines(
                "Acquired, by lock",
                "How often each lock is taken. A busy lock with long waits is the one to split, "
                "such as one for each account instead of one for all.",
                EACH_SECOND,
                Query(
                    f"sum by (lock) (rate({metrics.LOCK_WAIT}_count{{{CONSUMERS}}}{RATE}))",
                    "{{lock}}",
                ),
                empty=NOT_TAKEN,
            ),
        ],
        [
            lines(
                "Waiting, by lock",
                "How many wait at each moment. A mutex lets one in, a semaphore as many as it has "
                "permits.",
                "short",
                Query(f"sum by (lock) ({metrics.LOCK_WAITERS}{{{CONSUMERS}}})", "{{lock}}"),
                decades=True,
                empty="No lock is held or waited for",
            ),
            lines(
                "Permits in use, by semaphore",
                "How many of its permits each semaphore has given out. At 100%, others wait; when "
                "it never gets there, it does not limit anything.",
                SHARE,
                Query(
                    f"sum by (lock) ({metrics.PERMITS_IN_USE}{{{CONSUMERS}}}) "
                    f"/ (max by (lock) ({metrics.PERMITS_LIMIT}{{{CONSUMERS}}}) > 0) "
                    f"or sum by (lock) ({metrics.PERMITS_IN_USE}{{{CONSUMERS}}}) * 0",  # all free
                    "{{lock}}",
                ),
                empty="No semaphore is held or waited for",
            ),
        ],
    ]


def _troubles() -> Line:
    def each_minute(metric: metrics.Metric, name: str) -> Query:
        return Query(f"60 * sum(rate({metric}{{{CONSUMERS}}}{RATE}))", name)

    return [
        lines(
            "Lost, expired, taken away",
            "Lost: the holder was told so in time. Expired: it was found out when releasing. "
            "Taken away: by `heori locks release --force`.",
            EACH_MINUTE,
            each_minute(metrics.LOCKS_LOST, "lost"),
            each_minute(metrics.LOCKS_EXPIRED, "expired"),
            each_minute(metrics.LOCKS_FORCED, "taken away"),
            reach=1,
            empty=NO_CONSUMER,
        ),
        lines(
            "Deadlocks and fenced writes",
            "Both should be at 0. A deadlock is a fault in the order of locks; a fenced write is "
            "one that came too late and was refused.",
            EACH_MINUTE,
            each_minute(metrics.LOCK_DEADLOCKS, "deadlocks"),
            each_minute(metrics.FENCE_REJECTIONS, "fenced off"),
            reach=1,
            empty=NO_CONSUMER,
        ),
    ]
