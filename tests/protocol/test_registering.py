"""The record of a consumer, and of the queues that it serves."""

from tests.rigs.script_bench import Bench


def test_a_consumer_may_serve_more_queues_than_lua_passes_values(bench: Bench) -> None:
    queues = [f"q{number}" for number in range(10_000)]
    registered = bench.execute(bench.commands.announce("w", queues, {"pid": 1}))
    _, listed, *of_queues = registered.replies
    assert listed == 1
    assert of_queues == [1] * 10_000 + [1_000] * 10, "each has a worker, and all are listed"
    retired = bench.execute(bench.commands.retire("w", queues, "2026-11-28T00:00:00Z"))
    assert retired.replies[: 1 + len(queues)] == [1] * 10_001
