"""What the commands share that act on jobs by their ids: cancel, stop, run, retry, delete."""

from typing import Annotated

import typer

from heori.cli.ending import FAILED, guarded
from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.plain import say, say_json
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings

JobsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="The ids of jobs.")]


def act(action: str, jobs: list[str], *, as_json: bool) -> None:
    """Do it to each; with --json it prints one object a line."""
    settings = Settings()

    def work() -> None:
        with RedisClient(settings.redis_url) as client:
            actions = JobActions(client, Commands(Keys(settings.key_prefix)))
            problems = [
                problem
                for job_id in dict.fromkeys(jobs)
                if (problem := _act(actions, action, job_id, as_json=as_json))
            ]
            if problems:
                say(*(f"heori: {problem}" for problem in problems), error=True)
                raise typer.Exit(FAILED)

    guarded(work)


def _act(actions: JobActions, action: str, job_id: str, *, as_json: bool) -> str:
    """Why it was not done; empty if it was."""
    try:
        done = actions.act(action, job_id)
    except JobGone:
        status, problem = None, f"there is no job {job_id}; its result may have expired"
    except ActionRefused as error:
        status, problem = error.status, str(error)
    else:
        if as_json:
            say_json(done.record())
        else:
            say(str(done))
        return ""
    if as_json:
        say_json({"id": job_id, "action": action, "status": status, "problem": problem})
    return problem
