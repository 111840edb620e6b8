"""Where a name leads: from a task, queue, consumer or lock to its panels, and to the page."""

import re
from collections.abc import Iterable
from typing import Any

PAGE = "http://localhost:8080"  # of `heori serve`, as compose.yaml publishes it
ALERTS = "http://localhost:9090"  # of Prometheus, likewise

# Variables that nobody sees. ?var-page=https://jobs.example.org in the address changes one.
ADDRESSES = {"page": PAGE, "alerts": ALERTS}

_TIME = "${__url_time_range}"
_PAGES = {
    "task": ("Its jobs", "jobs?task="),
    "queue": ("Its jobs", "jobs?queue="),
    "consumer": ("Its page", "consumers/"),
    "lock": ("Its page", "locks?name="),
}
_BOARDS = {"task": "flow", "queue": "flow", "consumer": "consumers"}


def of_value(label: str) -> list[dict[str, Any]]:
    """The links of a column of names."""
    value = "${__value.raw:percentencode}"
    if label == "alertname":
        url = f"${{alerts}}/alerts?search={value}&showEmptyGroups=0"
        return [_link("What it means, and what to do", url)]
    return _links(label, value)


def of_series(legends: Iterable[str]) -> list[dict[str, Any]]:
    """The links of lines and bars: of the first name that their legend has and that leads on."""
    for label in re.findall(r"\{\{(\w+)\}\}", " ".join(legends)):
        if label in _PAGES:
            return _links(label, f"${{__field.labels.{label}:percentencode}}")
    return []


def _links(label: str, value: str) -> list[dict[str, Any]]:
    found = []
    if board := _BOARDS.get(label):
        found.append(_link("Its panels", f"/d/heori-{board}?{_TIME}&var-{label}={value}"))
    if label in _PAGES:
        title, path = _PAGES[label]
        found.append(_link(title, f"${{page}}/{path}{value}"))
    return found


def _link(title: str, url: str) -> dict[str, Any]:
    return {"title": title, "url": url, "targetBlank": url.startswith("${")}
