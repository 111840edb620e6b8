"""`python -m grafana`: writes the dashboards next to where Grafana is told to read them."""

from pathlib import Path

from grafana import consumers, flow, gil, healthy, locks, models, notes
from grafana.board import Board

DASHBOARDS = Path(__file__).parent / "dashboards"


def boards() -> list[Board]:
    """All dashboards."""
    made = (healthy, models, flow, gil, locks, consumers, notes)
    return [module.board() for module in made]


def main() -> None:
    """Write them."""
    for board in boards():
        (DASHBOARDS / f"{board.uid}.json").write_text(board.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
