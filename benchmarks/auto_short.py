"""All cases of `auto` in less than half an hour: fewer fixed settings beside it, each in one turn.

What is left out are settings that were far from the best of earlier runs, and second turns. Auto
itself may have as much, and as long to find it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.auto import AUTO_FINDS, Extent, Setting, cases, works
from benchmarks.kinds import Case

SHORT = Extent(measured=8.0, before_and_after=False, spans=2)
# Those that were the best of earlier runs, those beside them, 1×8 and mostly the largest; of every
# work, so that one which is new has to be looked at whole before.
FEW: Mapping[str, Sequence[Setting]] = {
    "pure Python": [(1, 8), (2, 2), (2, 8), (4, 1)],
    "hashing": [(1, 8), (2, 2), (2, 8), (4, 8)],
    "NumPy": [(1, 2), (1, 8), (2, 2), (4, 8)],
    "waiting 20 ms": [(1, 8), (2, 64), (2, 128), (4, 128)],
    "waiting 500 ms": [(1, 8), (2, 256), (4, 256)],
    "half Python, half waiting": [(1, 8), (2, 4), (2, 8), (4, 16)],
    "half Python, half hashing": [(1, 8), (2, 2), (2, 8), (4, 2)],
    "a twentieth Python, rest waiting": [(1, 8), (2, 64), (2, 128), (4, 128)],
    "tasks: Python, and waiting": [(1, 8), (2, 8), (2, 16), (4, 16)],
    "tasks: hashing, and waiting": [(1, 8), (2, 16), (2, 32), (4, 32)],
    "async tasks, waiting 50 ms": [(1, 200), (1, 1000), (2, 1000), (4, 1000)],
    "a service that serves 50 at once": [(1, 8), (1, 64), (2, 32), (4, 128)],
    "long jobs, waiting 5 s": [(1, 8), (2, 256), (4, 256)],
}
# On less than two cores, where turns are longer.
WITHIN_QUOTA: Mapping[str, Sequence[Setting]] = {
    "pure Python": [(1, 8), (2, 1), (2, 2)],
    "half Python, half waiting": [(1, 8), (1, 4), (2, 1)],
}


def _cases(quick: bool) -> list[Case]:
    few = {work.name: replace(work, few=FEW[work.name]) for work in works(quick)}
    return cases(few, SHORT, quick=quick, within_quota=WITHIN_QUOTA)


def left_out() -> str:
    """What this does not measure, of what `auto` does."""
    all_of_them = {work.name: work.settings for work in works(quick=True)}
    few, most = (sum(map(len, settings.values())) for settings in (FEW, all_of_them))
    return (
        f"Beside auto {few} of {most} fixed settings were tried: those near the best of earlier "
        "runs, 1×8, and corners. Each had one turn, before auto, and the best of them one of "
        f"{SHORT.measured:.0f} s after it, which counts. Auto was measured for as long, and the "
        "work changed once. Where auto was near 1×8, that had one more turn, and the mean counts."
    )


AUTO_SHORT = replace(
    AUTO_FINDS,
    name="auto-short",
    title=AUTO_FINDS.title.replace("some fixed settings", "a few fixed settings"),
    cases=_cases,
    seconds=63,
    notes=left_out,
)
