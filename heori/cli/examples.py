"""What `--help` of each command shows at its end: lines to type, which a test checks.

All are about one application, a shop, whose tasks are in shop.py and whose queue is called mail.
"""

from typing import Any

import typer

# Before 0.28 typer made one line of each paragraph, and left no blank line between two.
_IS_OLD = tuple(map(int, typer.__version__.split(".")[:2])) < (0, 28)
_NEW_LINE = "\n\n" if _IS_OLD else "\n"

# By the words of the command. Whoever reads one line of each has seen what it is for.
EXAMPLES = {
    "up": """
        heori up                             # one round: every file, every task
        heori up --forever                   # look around with heori top
        heori up --model processes --for 20s # the same work, in processes
        """,
    "consume": """
        export HEORI_TASKS=shop              # the module of your tasks
        heori consume -q mail                # 1 process x 8 threads
        heori consume -q mail -q low         # low when mail is empty
        heori consume -q mail=3 -q low=1     # three of mail for one of low
        heori consume -q mail --model processes --max-rss 500M
        """,
    "worker": """
        heori worker --allow shop high default   # for rq worker high default
        heori worker --allow shop --burst mail   # ends when mail is empty
        """,
    "worker-pool": """
        heori worker-pool --allow shop -n 4 high default
        """,
    "send": """
        export HEORI_TASKS=shop              # the module of your tasks
        heori send shop.send_mail --args '["ann@example.org"]' --wait
        heori send shop.send_mail --args '{"to": "ann@example.org"}' --delay 10min
        heori send shop.send_mail --from mails.csv --check
        heori send shop.send_mail --from mails.csv
        """,
    "status": """
        heori status                         # all queues and consumers
        heori status --json | jq .queues.mail.waiting
        """,
    "jobs": """
        heori jobs                           # what runs, waits and has ended
        heori jobs --queue mail --state queued
        heori jobs --state failed --task shop.send_mail
        heori jobs --search ann@example.org  # in ids, calls, meta and errors
        """,
    "job": """
        heori job 2bceb55d-bd89-41ad         # by the id that send prints
        heori job 2bceb55d-bd89-41ad --json | jq .tries
        """,
    "cancel": "heori cancel 2bceb55d-bd89-41ad",
    "stop": "heori stop 2bceb55d-bd89-41ad",
    "run": "heori run 2bceb55d-bd89-41ad  # which was to run later",
    "retry": "heori retry 2bceb55d-bd89-41ad",
    "delete": "heori delete 2bceb55d-bd89-41ad",
    "consumers": """
        heori consumers                      # all of them, and their slots
        heori consumers heori-web1-71-d4e7f8 # one: what each slot runs, since when
        heori consumers --json | jq '.consumers[] | select(.running == .slots).name'
        """,
    "top": """
        heori top                            # live; q ends it, ? tells its keys
        heori top --once                     # once, for a log or a mail
        """,
    "limit": """
        heori limit                          # of all queues
        heori limit mail 10000               # producers wait at 10,000
        heori limit mail none                # no limit any more
        """,
    "pause": """
        heori pause mail                     # nobody takes jobs of mail
        heori pause mail --tenant acme       # of one tenant
        heori pause --task shop.send_mail    # of one task, whatever the queue
        """,
    "drain": "heori drain heori-web1-71-d4e7f8  # what it runs goes on to its end",
    "resume": """
        heori resume mail
        heori resume mail --tenant acme
        heori resume --task shop.send_mail
        heori resume --consumer heori-web1-71-d4e7f8
        """,
    "tenants": """
        heori tenants mail                   # who waits, and each one's share
        heori tenants mail --weight acme=3   # three turns for one of another
        """,
    "schedule": """
        heori schedule                       # what runs when, and how it went
        heori schedule pause nightly
        heori schedule run nightly           # now, beside its own times
        """,
    "schedule pause": "heori schedule pause nightly",
    "schedule resume": "heori schedule resume nightly",
    "schedule delete": "heori schedule delete nightly  # that no code has any more",
    "schedule run": "heori schedule run nightly",
    "dead": """
        heori dead list                      # what failed, the latest first
        heori dead list --group              # how often, by task and error
        heori dead show 2bceb55d-bd89-41ad   # why: its traceback
        heori dead replay 2bceb55d-bd89-41ad # again, when that is mended
        heori dead purge --older 30d         # for good; asks first
        """,
    "dead list": """
        heori dead list --task shop.send_mail
        heori dead list --queue mail --older 12h --limit 10
        heori dead list --meta customer=acme --json
        heori dead list --group                        # by task and error
        heori dead list --error ConnectionError --search order-17
        """,
    "dead show": "heori dead show 2bceb55d-bd89-41ad",
    "dead replay": """
        heori dead replay 2bceb55d-bd89-41ad
        heori dead replay --task shop.send_mail --dry-run  # how many would be
        heori dead replay --task shop.send_mail
        heori dead replay --error "SMTPError: # is away"   # as --group shows it
        """,
    "dead purge": """
        heori dead purge 2bceb55d-bd89-41ad
        heori dead purge --older 30d --dry-run             # how many would be
        heori dead purge --task shop.send_mail --error ValueError
        heori dead purge --older 30d --queue mail --yes    # for cron: asks nothing
        """,
    "locks": """
        heori locks                          # all that are held or waited for
        heori locks printer                  # who holds it, and who waits
        heori locks release printer          # says what would happen
        heori locks release printer --force
        """,
    "locks show": """
        heori locks show printer
        heori locks show printer --kind semaphore --json
        """,
    "locks release": """
        heori locks release printer          # says what would happen
        heori locks release printer --force
        heori locks release printer --all --force
        """,
    "doctor": """
        heori doctor                         # changes nothing
        heori doctor --strict                # exit code 1 for warnings, too
        """,
    "redis": """
        heori redis PING
        heori redis LLEN rq:queue:mail
        """,
    "serve": """
        HEORI_TASKS=shop heori serve         # for this machine alone
        HEORI_TASKS=shop HEORI_API_TOKENS=s3cret heori serve --host 0.0.0.0
        curl localhost:8080/v1/tasks/shop.send_mail \\
            -H 'Authorization: Bearer s3cret' -H 'Content-Type: application/json' \\
            -d '{"to": "ann@example.org"}'
        """,
    "load": """
        HEORI_TASKS=heori.examples.tasks heori consume -q stdlib  # in one terminal
        heori load --rate 200 --for 60s                           # in another
        heori load --profile burst --mix digest=1
        """,
    "lab": """
        heori lab models --quick             # threads or processes, here?
        heori lab locks                      # what goes wrong without them
        heori lab notes                      # what a process is, and a thread
        """,
    "lab models": """
        heori lab models                     # six minutes
        heori lab models --quick             # rough figures
        heori lab models --python /usr/bin/python3.13t
        """,
    "lab locks": "heori lab locks --transfers 200 --consumers 2",
    "lab notes": """
        heori lab notes                      # all of them
        heori lab notes thread --seed 7
        heori lab notes process --json | jq .notes[0].figures.messages
        """,
}


def lines(words: str) -> list[str]:
    """Those of a command, without indentation."""
    return [line.removeprefix(" " * 8) for line in EXAMPLES[words].strip().splitlines()]


def teach(command: Any, words: str) -> Any:
    """Have a command, and all below it, show its examples; returns it."""
    command.epilog = _NEW_LINE.join(("**Examples**", "", "```text", *lines(words), "```"))
    for name, inner in getattr(command, "commands", {}).items():
        teach(inner, f"{words} {name}")
    return command
