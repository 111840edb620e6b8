"""Is it healthy? The first dashboard that people see: what is wrong, or that nothing is."""

from grafana import flow
from grafana.board import Board
from grafana.colours import GREEN, ORANGE, RED
from grafana.panels import number
from grafana.tables import TableColumn, rows_of

FIRING = 'alertname=~"Heori.+", alertstate="firing"'

# What an alert may be of: one of these, or none.
NAMED = '"queue", "task", "consumer", "lock"'


def board() -> Board:
    """The dashboard."""
    made = Board(
        "healthy",
        "Is it healthy?",
        "What is wrong now, and where to look; or that all is well.",
        ["queue", "task", "model", "consumer"],
    )
    since = (
        'label_join(time() - ALERTS_FOR_STATE{alertname=~"Heori.+"} '
        f'and ignoring (alertstate) ALERTS{{{FIRING}}}, "of", "", {NAMED})'
    )
    failed, ended = (flow.in_time_shown(which) for which in ('outcome="failed"', flow.ENDED))
    return made.top(
        [
            number(
                "Alerts",
                "How many of Heori's alerts fire now; at 0 all is well. The list below says which, "
                "and each leads to what it means and what to do.",
                "none",
                f"count(ALERTS{{{FIRING}}}) or vector(0)",
                [(None, GREEN), (1, RED)],
                empty="Prometheus does not answer",
                span=6,
            ),
            flow.oldest(span=6),
            flow.failing(span=6),
            flow.slots_in_use(span=6),
        ],
        [flow.in_and_claimed(), flow.ends()],
        [
            rows_of(
                "What fires",
                "Alerts that fire now, and for how long; the name leads to what it means and what "
                "to do, in Prometheus.",
                {"alertname": "Alert", "severity": "Severity", "of": "Of"},
                [
                    TableColumn(
                        "For",
                        f"sum by (alertname, severity, of) ({since})",
                        "s",
                    )
                ],
                empty="No alert fires: all is well.",
                highest="For",
                span=12,
            ),
            rows_of(
                "Tasks that fail",
                "Those of which jobs failed for good in the time shown, and how many of all. A "
                "task's name leads to its panels, and to its jobs on the page, with their errors.",
                {"task": "Task"},
                [
                    TableColumn("Failed", f"round({failed}) > 0", "none"),
                    TableColumn(
                        "Share",
                        f"{failed} / {ended} > 0",
                        "percentunit",
                        [(None, GREEN), (0.01, ORANGE), (0.05, RED)],
                    ),
                ],
                empty="No job has failed in the time shown.",
                highest="Failed",
                span=12,
            ),
        ],
    )
