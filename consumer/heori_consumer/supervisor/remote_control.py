"""What a person may ask of this consumer with ``rq.command``."""

import asyncio

from heori_common import logs
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.listener import RemoteCommand

log = logs.get_logger(__name__)

# How often it is seen whether a job that is to stop has come, and after how many seconds again.
LOOKS, LOOK_EVERY_S = 10, 0.05


class RemoteControl:
    """Obeys rq's commands."""

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._pool = pool
        self._stopping: set[asyncio.Task[None]] = set()

    def obey(self, command: RemoteCommand) -> None:
        """Do what is asked; a command that cannot be obeyed is told in the log."""
        match command.name:
            case "shutdown":
                log.info("rq asks for a shutdown")
                self._context.stop.ask()
            case "stop-job" | "stop-execution":
                if not self._stop(command):
                    task = asyncio.create_task(self._stop_once_claimed(command))
                    self._stopping.add(task)
                    task.add_done_callback(self._stopping.discard)
            case "kill-horse":
                log.warning(
                    "rq asks to kill what runs; its jobs fail, or use a retry",
                    processes=self._pool.kill_running(),
                )
            case _:
                log.warning("a command that is not known", command=command.name[:100])

    def _stop(self, command: RemoteCommand) -> bool:
        return self._is_here(command) and self._pool.stop_job(command.job_id)

    async def _stop_once_claimed(self, command: RemoteCommand) -> None:
        """Redis may have told of a claim before we got its answer.

        What was handed over late begins with a claim that is still to be made.
        """
        for _ in range(LOOKS):
            async with self._context.leases.claiming:
                if self._stop(command):
                    return
            await asyncio.sleep(LOOK_EVERY_S)
        log.warning("asked to stop a job that does not run here", job=command.job_id)

    def _is_here(self, command: RemoteCommand) -> bool:
        return command.name == "stop-job" or any(
            claim.job_id == command.job_id and claim.execution == command.execution_id
            for claim in self._context.leases.held()
        )
