"""How tests are shared out to the processes of a run: which stay together, and which come first."""

from typing import Any

import pytest

# Those that take longest, as measured, the longest first: no process is left alone with one of
# them in the end.
LONG = (
    "test_no_command_ends_with_a_traceback",
    "test_no_answer_is_an_error_of_its_own_or_other_than_described",
    "test_an_import_that_is_killed_thrice_sends_each_line_once",
    "test_what_is_left_of_five_thousand_jobs_of_every_kind_is_as_little_as_of_a_few",
    "test_each_workload_runs_on_each_model_and_the_figures_are_of_this_machine",
    "test_quiet_queues_cost_about_what_one_does",
    "test_it_follows_changes",
    "test_many_jobs_go_in_as_there_is_room_and_never_more",
    "test_whatever_a_consumer_says_the_pages_are_there",
    "test_jobs_that_wait_get_more_threads",
    "test_a_release_that_is_struck_while_it_connects_is_carried_on",
    "test_while_a_consumer_is_suddenly_silent_there_is_a_gap_and_no_fall",
    "test_what_one_has_learned_the_next_one_knows",
    "test_what_auto_finds_is_measured_beside_fixed_settings",
    "test_it_moves_twice_at_most_in_ten_minutes_of_a_load_that_stays",
    "test_bounds_are_kept_and_moves_come_to_an_end",
    "test_one_that_hangs_keeps_nobody_waiting",
    "test_kills_and_pauses_lose_no_job_and_repeat_only_what_was_in_flight",
    "test_enter_tells_all_about_a_job_and_a_worker",
    "test_a_crowd_comes_back_after_an_outage",
    "test_a_standstill_is_told_everywhere_and_ends_with_another_consumer",
    "test_ctrl_c_drains_and_leaves_nothing",
    "test_no_key_waits_for_a_redis_that_says_nothing",
    "test_every_file_goes_through_every_task_once",
    "test_threads_that_compute_wait_for_the_gil_and_sleep_are_told_apart",
    "test_no_test_is_imported",
    "test_a_suspended_consumer_claims_nothing_and_says_so_until_it_is_resumed",
    "test_jobs_handed_to_consumers_that_are_struck_go_to_the_next_and_are_not_charged",
    "test_a_server_that_vanishes_in_the_middle_is_one_message",
    "test_all_that_are_late_end_with_one_kill_and_the_others_run_again_once",
    "test_a_job_that_loses_its_locks_is_stopped_and_its_fence_refused",
    "test_what_is_not_there_is_a_page_for_people_and_json_for_programs",
    "test_a_project_sends_its_tasks_and_reads_what_came_of_them",
    "test_idle_consumers_send_next_to_nothing_and_seldom_wake",
    "test_a_quick_run_of_locks_shows_its_figures",
    "test_every_expression_has_data_and_every_metric_a_use",
    "test_killed_workers_lose_no_job_and_repeat_only_what_was_in_flight",
    "test_a_consumer_that_was_paused_keeps_what_nobody_has_taken",
    "test_flows_end_as_in_a_consumer",
    "test_k_stops_the_job_at_the_cursor_once_that_is_confirmed",
    "test_what_is_refused_is_said_in_one_message",
    "test_a_fleet_is_measured_idle_and_with_jobs_of_heori_and_of_rq",
    "test_the_scripts_do_what_the_model_does",
    "test_tens_of_thousands_of_letters_take_no_more_memory_than_a_thousand",
    "test_drains_under_load_lose_nothing_and_keep_the_order",
    "test_a_consumer_survives_all_of_it",
    "test_people_look_at_a_crowd",
    "test_rqs_own_workers_end_them_as_recorded",
    "test_a_consumer_with_threads_does_but_for_what_threads_cannot",
    "test_it_finds_a_size_that_is_about_as_good_as_the_best",
    "test_counters_go_on_where_a_killed_worker_left_them",
    "test_a_total_that_is_not_as_it_should_be_is_told_and_is_the_exit_code",
    "test_a_bound_holds_for_producers_at_once_and_nothing_is_lost",
    "test_a_supervisor_holds_so_many_results_and_gives_their_memory_back",
    "test_each_signal_at_each_moment_is_obeyed_and_costs_no_job_anything",
    "test_the_example_passes_side_by_side_and_leaves_nothing",
    "test_thousands_of_futures_are_resolved_over_one_connection",
    "test_cpu_time_alone_gives_an_estimate_that_takes_no_sleep_for_the_gil",
    "test_transfers_in_opposite_order_never_deadlock",
)
LONG_FOLDERS = ("packaging", "docs", "deploy")
APART = ("test_platforms",)  # whose tests have nothing in common
TOGETHER = ("deploy", "repository")  # each of these folders is one: all its tests load the same


def parameters(item: pytest.Item) -> dict[str, Any]:
    """With which parameters it was collected."""
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def group_of(item: pytest.Item) -> str | None:
    """What it has to stay together with: tests that share a consumer, or what is a module's."""
    if item.path.parent.name in TOGETHER:
        return item.path.parent.name
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
