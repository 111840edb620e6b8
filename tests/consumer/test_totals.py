"""What a scrape sums up while jobs of new tasks end."""

import sys
import threading

from heori_consumer.between.totals import TaskTotals, Totals, add

TASKS = 200


def test_tasks_may_come_while_totals_are_summed_up() -> None:
    totals: Totals = {}
    failed: list[RuntimeError] = []
    summed = threading.Event()

    def sum_up() -> None:
        try:
            while not summed.is_set():
                add({}, totals)
        except RuntimeError as error:
            failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=sum_up)
    thread.start()
    try:
        for _ in range(20):
            totals.clear()
            for number in range(TASKS):
                totals[f"task {number}"] = TaskTotals()
    finally:
        summed.set()
        thread.join()
        sys.setswitchinterval(before)
    assert failed == []
