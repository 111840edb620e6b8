"""`heori dead replay` and `heori dead purge`."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import typer

from heori import formats
from heori.cli.console import JsonOption
from heori.cli.dead_options import (
    DryRunOption,
    ErrorOption,
    MetaOption,
    OlderOption,
    QueueOption,
    SearchOption,
    TaskOption,
    chosen,
    open_letters,
    progress_bar,
)
from heori.cli.ending import refuse
from heori.inspect.dead_choice import Choice
from heori.inspect.dead_letters import Action, DeadLetters
from heori.inspect.dead_sweep import Sweep, act
from heori.plain import say, say_json
from heori_common.printable import printable
from heori_common.redis.errors import RedisRefused, RedisUnavailable

# Why a letter stays where it is, by the fate that the scripts return.
REASONS = {
    "absent": "not among the dead letters",
    "gone": "the job is gone and only its id is left, until it expires or is purged",
    "foreign": "the key of the job holds no hash",
    "elsewhere": "the job is not failed; it waits, runs or has ended otherwise",
    "unreadable": "a key of its queue holds something else",
}

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="The ids of dead letters.")
]


def replay(
    jobs: IdsArgument = None,
    *,
    task: TaskOption = None,
    error: ErrorOption = None,
    search: SearchOption = None,
    older: OlderOption = None,
    meta: MetaOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    queue: QueueOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back at the end of their queues, to run as if for the first time.

    Give their ids, --all, or which they are: what several options say must all be so. What fails
    meanwhile is left alone, and so is a letter that was replayed and has failed again. Several
    people may do this at the same time: each letter is moved and counted once. The exit code is 1
    when some were not replayed.
    """
    _check_one_way("replay", jobs, (task, error, search, older, meta), every=everything)
    choice = chosen(task, error, search, older, meta)

    def work(letters: DeadLetters) -> None:
        meant = list(dict.fromkeys(jobs)) if jobs else choice(letters)
        _act(letters, meant, Deed("replayed", letters.replay, dry_run, as_json))

    open_letters(queue, work)


def purge(
    jobs: IdsArgument = None,
    *,
    task: TaskOption = None,
    error: ErrorOption = None,
    search: SearchOption = None,
    older: OlderOption = None,
    meta: MetaOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All, however recent.")] = False,
    queue: QueueOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete dead letters for good: the jobs, their results, and what else RQ keeps of them.

    Give their ids, --all, or which they are: what several options say must all be so. On a terminal
    it says how many there are and asks first. --older leaves out a dead letter without a time of
    failure. Jobs that wait for one by RQ's depends_on stay deferred, as when rq deletes it; `heori
    doctor --mend` runs them.
    """
    _check_one_way("delete", jobs, (task, error, search, older, meta), every=everything)
    choice = chosen(task, error, search, older, meta)

    def work(letters: DeadLetters) -> None:
        meant = list(dict.fromkeys(jobs)) if jobs else choice(letters)
        if sys.stdin.isatty() and not yes and not dry_run:
            fates: Counter[str] = Counter()
            _each(letters, meant, letters.purge, fates, dry_run=True)
            if number := fates["purged"]:
                what = formats.counted(number, "dead letter")
                question = f"Delete {what} at {letters.address} for good?"
                typer.confirm(printable(question), abort=True, err=True)
        _act(letters, meant, Deed("purged", letters.purge, dry_run, as_json))

    open_letters(queue, work)


class Deed(NamedTuple):
    """What to do with letters, and how to tell of it.

    Attributes:
        done: the fate of those with which it was done.
    """

    done: str
    action: Action
    dry_run: bool
    as_json: bool


def _check_one_way(
    verb: str, jobs: list[str] | None, filters: Sequence[object], *, every: bool
) -> None:
    """Refuse what does not say which letters are meant, or says it in two ways."""
    if [bool(jobs), any(each is not None for each in filters), every].count(True) != 1:
        refuse(
            f"say which dead letters to {verb}: either their ids, or which they are "
            "(--task, --error, --search, --older, --meta), or --all"
        )


def _each(
    letters: DeadLetters,
    meant: Choice | list[str],
    action: Action,
    fates: "Counter[str]",
    *,
    dry_run: bool,
) -> dict[str, str]:
    """Act on them, and count their fates; returns the fate of each that was given by its id."""
    if not isinstance(meant, Choice):
        by_id = letters.each_of(meant, action, dry_run=dry_run)
        fates.update(by_id.values())
        return by_id
    sweep = Sweep(letters, meant, changes=True)
    with progress_bar(letters) as advance:
        for searched in act(sweep, sweep.whole(), action, fates, dry_run=dry_run):
            advance(searched)
    return {}


def _act(letters: DeadLetters, meant: Choice | list[str], deed: Deed) -> None:
    fates: Counter[str] = Counter()
    by_id: dict[str, str] = {}
    try:
        by_id = _each(letters, meant, deed.action, fates, dry_run=deed.dry_run)
    except (RedisUnavailable, RedisRefused) as error:
        if not fates:  # nothing was done
            raise
        letters.problems.append(f"it came no further: {error}")
    finally:  # when it is interrupted, it prints how far it got
        _tell(letters, deed, fates, by_id)


def _tell(
    letters: DeadLetters, deed: Deed, fates: "Counter[str]", by_id: Mapping[str, str]
) -> None:
    """Print with how many it was done, and note why not with others.

    Args:
        by_id: of those that were asked for by their ids.
    """
    done = deed.done
    left = {fate: count for fate, count in fates.items() if fate != done}
    if deed.as_json:
        named = {"ids": by_id} if by_id else {}
        told = {done: fates[done], "left": left, "dry_run": deed.dry_run, **named}
        say_json({**told, "unreadable": letters.reader.unreadable})
    else:
        say(f"{formats.count(fates[done])} {'would be ' if deed.dry_run else ''}{done}")
    if by_id:
        letters.problems += [
            f"{job_id}: {REASONS[fate]}" for job_id, fate in by_id.items() if fate != done
        ]
        return
    left.pop("absent", None)  # another command was faster
    letters.problems += [
        f"{formats.count(count)} not {done}: {REASONS[fate]}" for fate, count in left.items()
    ]
