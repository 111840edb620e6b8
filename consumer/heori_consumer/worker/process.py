"""A worker process: imports the tasks, runs jobs in its slots, and ends in order.

Every execution model is this, with other numbers of processes and slots and one of two kinds of
slots. The process holds no connection to Redis and answers to no signal: its supervisor ends
it, by closing the socket or by SIGKILL.
"""

import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from heori_common import chunks, logs, task_modules
from heori_common.errors import InvalidSetting
from heori_common.rq import environ
from heori_common.rq.current import answer_for_rq
from heori_common.rq.named import NotThere
from heori_common.schedule import BadSchedule, entries_of
from heori_common.task_modules import NoTaskModule, nothing_to_run
from heori_consumer.between import family
from heori_consumer.between.entry import Files
from heori_consumer.between.frames import BROKEN, IMPORTING, pack
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.signals import STOPPING
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.chance import draw_anew
from heori_consumer.worker.ending import Inheritance, flush_streams, say_goodbye
from heori_consumer.worker.hooks import StartHookFailed, run_end_hooks, run_start_hooks
from heori_consumer.worker.libraries import libraries, newest
from heori_consumer.worker.link import LinkedSlots
from heori_consumer.worker.rq_job import make_job
from heori_consumer.worker.signals import let_pass, obey_in_copies

log = logs.get_logger(__name__)

# Timers of a task's that outlive its job end in one of these.
TIMERS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
# Objects that a job in a slot has the collector of garbage count, at least, until it ends.
SLOT_OBJECTS = 10


def main(files: Files, options: WorkerOptions, mark: int, inherited: Inheritance) -> NoReturn:
    """The worker process, from its start to its end.

    Args:
        files: what connects it to its supervisor.
        options: what it is told.
        mark: of its family (see `between.family`).
        inherited: what there was before it was forked.
    """
    let_pass((*STOPPING, *TIMERS))
    _speak_through(files)
    faulthandler.enable(2, all_threads=False)  # where it crashed is the best evidence
    if options.home == "own":
        logs.configure(as_json=options.json_logs, level=options.log_level)
    table = SlotTable(files.table, options.slots, options.lend, options.room)
    os.close(files.table)
    link = socket.socket(fileno=files.link)
    # A copy of this process that a task forks must not speak for it, and can be terminated.
    os.register_at_fork(after_in_child=link.close)
    obey_in_copies()
    draw_anew()
    _collect_seldom(options.slots)
    abandon = partial(_leave, mark, 1)
    well = serve(link, options, table, abandon)
    # What a copy has inherited, the original has yet to end: its children, files, handlers.
    if well and options.home == "own":
        say_goodbye(inherited)
    _leave(mark, 0 if well else 1)


def _collect_seldom(slots: int) -> None:
    """Have no collection of garbage while no more is made than the jobs of all slots need.

    With thousands of slots each batch of jobs would bring some, which look at all that those which
    run have made, and find nothing. A task module may set it otherwise.
    """
    young, *older = gc.get_threshold()
    gc.set_threshold(max(young, SLOT_OBJECTS * slots), *older)


def _leave(mark: int, code: int) -> NoReturn:
    """End at once: tasks may have left threads that never do."""
    flush_streams()
    family.end_others(mark)
    os._exit(code)


def _speak_through(files: Files) -> None:
    """Make the supervisor's channels the standard output and error, of C code and programs, too."""
    for number, file in ((1, files.stdout), (2, files.stderr)):
        os.dup2(file, number)
        os.close(file)
    # By lines, whatever PYTHONUNBUFFERED says: prints are seen at once, and slots that print at
    # the same time do not tear each other's lines apart.
    was = sys.stdout
    sys.stdout = open(1, "w", 1, was.encoding, was.errors, closefd=False)  # noqa: SIM115


def _why_broken(error: BaseException, module: str) -> tuple[str, str]:
    """What keeps a worker from taking jobs, and its details.

    Args:
        module: that was imported last.
    """
    match error:
        case NoTaskModule() | BadSchedule():
            return f"HEORI_TASKS: {error}", ""
        case InvalidSetting():
            return str(error), ""
        case NotThere() | StartHookFailed():
            return str(error), error.details
        case _:
            return f"the task module {module} cannot be imported", traceback.format_exc()


def serve(
    link: socket.socket, options: WorkerOptions, table: SlotTable, abandon: Callable[[], None]
) -> bool:
    """Run jobs until the supervisor closes the socket; returns whether all was well.

    Args:
        link: to the supervisor.
        options: what it is told.
        table: what its slots are doing.
        abandon: see `LinkedSlots`.
    """
    is_guest = options.home == "caller"
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main and not is_guest:  # the main thread is the supervisor's
        obey_in_copies(STOPPING)
    module = ""
    answer_for_rq(partial(make_job, options.policy))
    environ.tell_jobs(options.policy.consumer)
    before = newest()
    empty: list[str] = []
    try:
        for module in (*options.policy.tasks, chunks.__name__):
            link.sendall(pack([IMPORTING, module]))  # told first, as it may end this process
            empty += task_modules.load([module])
        if not options.policy.allow and (told := nothing_to_run(empty, options.policy.tasks)):
            raise NoTaskModule(told)
        link.sendall(pack([IMPORTING, None]))
        run_start_hooks()
        if in_main and not is_guest:
            let_pass(STOPPING)  # whatever the modules would do then
        worker = LinkedSlots(link, options, table, abandon)
        used = libraries(before, (*options.policy.tasks, *options.policy.allow))
        entries = entries_of(
            options.policy.tasks, options.policy.max_payload, strict=options.policy.strict
        )
    except BaseException as error:  # their modules may raise anything
        link.sendall(pack([BROKEN, *_why_broken(error, module)]))
        return True
    try:
        worker.run(used, empty, entries)
    except BaseException:  # a task has closed our socket, say; our supervisor starts another
        log.critical("this worker has failed", exc_info=True)
        return False
    if worker.is_idle:  # else its supervisor has gone, and a job goes on
        run_end_hooks()
    return True
