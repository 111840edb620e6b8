"""How tests are shared out to the processes of a run: which stay together, and which come first."""

from typing import Any

import pytest

# Those that take longest, as measured, the longest first: no process is left alone with one of
# them in the end.
LONG = (
    "test_it_has_one_end_and_the_jobs_around_it_have_theirs",
    "test_each_workload_runs_on_each_model_and_the_figures_are_of_this_machine",
    "test_what_is_left_of_five_thousand_jobs_of_every_kind_is_as_little_as_of_a_few",
    "test_moving_goes_on_when_redis_refused_to_write_and_when_it_was_away",
    "test_every_file_goes_through_every_task_once",
    "test_killed_workers_lose_no_job_and_repeat_only_what_was_in_flight",
    "test_a_quick_run_of_locks_shows_its_figures",
    "test_healthz_tells_whether_redis_and_the_workers_are_there",
    "test_a_quick_run_of_tenants_shows_that_a_flood_keeps_no_other_waiting",
    "test_threads_that_compute_wait_for_the_gil_and_sleep_are_told_apart",
    "test_every_expression_has_data_and_every_metric_a_use",
    "test_kills_and_pauses_lose_no_job_and_repeat_only_what_was_in_flight",
    "test_ctrl_c_drains_and_leaves_nothing",
    "test_drains_under_load_lose_nothing_and_keep_the_order",
)
LONG_FOLDERS = ("packaging", "docs", "deploy")
APART = ("test_platforms",)  # whose tests have nothing in common


def parameters(item: pytest.Item) -> dict[str, Any]:
    """With which parameters it was collected."""
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def group_of(item: pytest.Item) -> str | None:
    """What it has to stay together with: tests that share a consumer, or what is a module's."""
    given = parameters(item)
    if "shared" in given:
        return f"shared {given['shared']}"
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - it is private
    if any(each.scope == "module" for definitions in fixtures for each in definitions):
        return f"{item.path.stem} {given.get('model', '')}".strip()
    if item.path.parent.name in LONG_FOLDERS and item.path.stem not in APART:
        return item.path.stem  # what it loads once for all takes long
    return None


def place_of(item: pytest.Item) -> tuple[int, int]:
    """Where it stands among all."""
    function = item.name.partition("[")[0]
    if item.path.parent.name in LONG_FOLDERS:
        return 0, 0
    if "shared" in parameters(item):
        return 1, 0
    return 2, LONG.index(function) if function in LONG else len(LONG)
