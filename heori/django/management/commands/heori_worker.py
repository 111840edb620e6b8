"""`manage.py heori_worker`: `heori worker` with the tasks and the settings of a Django project."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from heori.django.backend import HeoriBackend
from heori.django.framework import task_backends
from heori_common.settings import variable_of


class HeoriWorker(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Becomes `heori worker`, whose processes set Django up."""

    help = "Run one worker of Heori: all arguments are those of `heori worker`."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it with what stands on the command line."""
        # Django's own options, which it has obeyed already, are none of the worker's.
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        parser.add_argument("--backend", default="default", help="its name in TASKS")
        own, rest = parser.parse_known_args(argv[2:])
        try:
            environment = _environment(own.backend)
        except (CommandError, ImproperlyConfigured) as error:
            self.stderr.write(f"{type(error).__name__}: {error}")
            sys.exit(2)
        # A process of its own: a supervisor has none of the application in it.
        words = [sys.executable, "-m", "heori", "worker", *rest]
        os.execve(sys.executable, words, environment)  # noqa: S606 - no shell

    def handle(self, *_: Any, **__: Any) -> None:
        """Refuse to be called by a program.

        Raises:
            CommandError: always.
        """
        raise CommandError("heori_worker takes the place of its process: run it with manage.py")


Command = HeoriWorker  # the name by which Django finds it


def _environment(alias: str) -> dict[str, str]:
    """The environment with what the project says of its backend.

    Raises:
        CommandError: the backend is another's, or Django was not told where its settings are.
    """
    backend = task_backends[alias]
    if not isinstance(backend, HeoriBackend):
        raise CommandError(f"TASKS[{alias!r}] is no heori.django.HeoriBackend")
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise CommandError("DJANGO_SETTINGS_MODULE is not set: the worker sets Django up by it")
    given = dict(backend.options)
    environment = {**os.environ}
    for name in ("tasks", "middleware"):
        given.setdefault(name, os.environ.get(variable_of(name), ""))
    given["tasks"] = ["heori.django.tasks", *_listed(given["tasks"])]
    given["middleware"] = ["heori.django.CloseOldConnections", *_listed(given["middleware"])]
    environment.update({variable_of(name): _text(value) for name, value in given.items()})
    # What `manage.py` may import, its processes may import, too.
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    return environment


def _listed(value: Any) -> list[str]:
    return value.split(",") if isinstance(value, str) else list(value)


def _text(value: Any) -> str:
    """A setting as its environment variable has it."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, list | tuple | set):
        return ",".join(map(str, value))
    return str(value)
