"""Which workers need a successor because of what their process has come to need."""

from heori_consumer.between.options import own_threads
from heori_consumer.pool.roster import Roster


def look_at_memory(roster: Roster) -> None:
    """Note how much memory each worker has, and replace those that have too much."""
    most = roster.options.max_rss
    for worker in roster.everyone():
        memory = worker.host.memory()
        if most is not None and memory > most:
            roster.retire(worker, "max-rss")


def look_at_files_and_threads(roster: Roster) -> None:
    """Replace the workers that have too many open files, or threads beside their own."""
    options = roster.options
    for worker in roster.everyone():
        own = own_threads(max(worker.slots, worker.table.slots))
        if options.max_files is not None and worker.host.files() > options.max_files:
            roster.retire(worker, "max-files")
        elif options.max_threads is not None and (
            worker.host.threads() > options.max_threads + own
        ):
            roster.retire(worker, "max-threads")
