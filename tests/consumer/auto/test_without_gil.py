"""Pure Python on simulated cores: where there is no GIL, threads are as good as processes."""

import pytest

from heori_consumer.auto.size import Size
from tests.rigs.simulated_work import PYTHON, Work, steer

CORES = 4


@pytest.mark.parametrize("start", [Size(4, 2, 64), Size(1, 2, 64)], ids=str)
def test_threads_are_preferred_where_there_is_no_gil(start: Size) -> None:
    size = steer(Work((PYTHON,), {"cores": CORES, "gil": False}), 60, start=start).controller.size
    assert size.processes == 1
    assert size.slots >= CORES
    size = steer(Work((PYTHON,), {"cores": CORES, "gil": True}), 60, start=start).controller.size
    assert size.processes == CORES
