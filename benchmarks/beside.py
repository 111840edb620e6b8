"""Another checkout of Heori, measured in turns with this one: what a change has cost.

The other one is run by its own interpreter, `.venv-bench/bin/python`, in its own folder, so that
neither sees a module of the other. Server, sizes and the way of counting are of this one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.kinds import Case, Figures, Kind, Results
from benchmarks.rig import Checkout, Rig

OURS = "heori"  # how the names of the cases begin that another checkout can run, too
BESIDE = ", beside"


def checkout(folder: Path) -> Checkout:
    """Another checkout, as `make bench` has left it.

    Raises:
        FileNotFoundError: it has no interpreter with Heori in it.
    """
    python = folder.resolve() / ".venv-bench/bin/python"
    if not python.exists():
        raise FileNotFoundError(
            f"{folder} has no .venv-bench: type `make .venv-bench/installed` there"
        )
    return Checkout(folder.resolve(), str(python))


def doubled(cases: Sequence[Case], other: Checkout) -> list[Case]:
    """Each case of Heori's followed by the same one of the other checkout."""
    both = []
    for case in cases:
        both.append(case)
        if case.name.startswith(OURS):
            both.append(Case(case.name + BESIDE, lambda case=case: _measure(case, other)))  # type: ignore[misc]
    return both


def _measure(case: Case, other: Checkout) -> Figures:
    with _running(other):
        return case.measure()


@contextmanager
def _running(other: Checkout) -> Iterator[None]:
    own, Rig.checkout = Rig.checkout, other
    try:
        yield
    finally:
        Rig.checkout = own


def table(kinds: Sequence[Kind], results: Results) -> Table:
    """This checkout's medians over the other's, figure by figure."""
    shown = Table("kind", "case", "figure", "here", "beside", "here / beside", box=box.SIMPLE_HEAD)
    for kind in kinds:
        of_kind = results.get(kind.name, {})
        for case, figures in of_kind.items():
            other = of_kind.get(case + BESIDE)
            for column in kind.columns if other else ():
                here, there = figures.get(column.figure), (other or {}).get(column.figure)
                if here is None or not there:
                    continue
                written = [format(value, column.form) for value in (here, there)]
                shown.add_row(kind.name, case, column.heading, *written, f"{here / there:.3f}")
    return shown
