"""Writes the pages that are made from the code: settings, commands, metrics, the names to
import, and the table of keys.

python docs/generate.py            writes them
python docs/generate.py --check    tells which are old, and exits with 1 if any is
"""

import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from typer.core import TyperArgument

import heori
from heori.cli import examples
from heori.cli.app import COMMANDS, load
from heori.cli.ending import FAILED, REFUSED
from heori.cli.streams import UNREAD, UNTOLD
from heori_common.metrics import CATALOGUE, CONSUMER, OTHER
from heori_common.protocol.catalogue import catalogue
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings, variable_of

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py: change the code, and run it again. -->\n"


ABOUT_COMMANDS = (
    "`heori COMMAND --help` says the same. `heori --version` tells of Heori, Python and RQ. "
    "`heori --install-completion` has bash, zsh, fish or PowerShell complete commands and options "
    "with Tab, in each shell that is started afterwards."
)
ABOUT_LABELS = (
    "No stranger can make any number of series: a label has the values that its metric names "
    "above, or these."
)


def cell(text: str) -> str:
    """Text as it may stand in a table; what stands between backticks is shown as it is."""
    parts = " ".join(text.split()).replace("``", "`").replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def exit_codes() -> list[str]:
    """Those that all commands have."""
    codes = {
        0: "done",
        FAILED: "it went wrong, or a job has; or something in Redis cannot be read, and the rest "
        "is shown; see the message",
        REFUSED: "nothing was done: the request or a setting is not valid, or Redis is away",
        UNTOLD: "done, but the answer could not be written to standard output, which is closed or "
        "full: a job was sent, and must not be sent again",
        130: "Ctrl-C",
        UNREAD: "nobody reads the answer any more, as in `heori status | head -1`; there is no "
        "message",
    }
    rows = (f"| {code} | {meaning} |" for code, meaning in codes.items())
    return ["| exit code | meaning |", "|---|---|", *rows]


def settings() -> str:
    """The page of the settings."""
    lines = [
        "# Settings",
        NOTE,
        (
            "Settings are environment variables, and `Settings(…)` takes the same names in lower "
            "case without their prefix. Some options of the command line override them. A value "
            "that does not fit ends what reads it: a command with exit code 2, a program with "
            "`InvalidSetting`, and a message that names the variable. What does not read it goes "
            "on. An empty variable counts as not set. So does one that Kubernetes took for a "
            "Service called `heori-metrics` or `heori-api`, such as "
            "`HEORI_METRICS_PORT=tcp://10.0.0.1:9100`; that is logged."
        ),
        "",
        "Lists are written with commas.",
        "",
        "| variable | type | default | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, field in sorted(Settings.model_fields.items(), key=lambda item: variable_of(item[0])):
        about = cell(field.description or "")
        first = about.split()[0].lower()
        unit = first if first in ("seconds", "bytes", "jobs", "deliveries") else ""
        lines.append(
            f"| `{variable_of(name)}` | {kind(name)} | {default(field)} | {unit} | {about} |"
        )
    return "\n".join([*lines, ""])


def kind(name: str) -> str:
    """The type of a setting, as a person writes its values."""
    return _kind(get_type_hints(Settings, include_extras=True)[name])


def _kind(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "`NAME=NUMBER` list"
    if arguments and all(isinstance(value, str) for value in arguments):  # a Literal
        return " or ".join(f"`{value}`" for value in arguments)
    if arguments:  # a union with None
        return _kind(next(each for each in arguments if each is not type(None)))
    names = {"str": "text", "int": "whole number", "float": "number", "Path": "file"}
    return names.get(hint.__name__, "text")


def default(field: FieldInfo) -> str:
    """The default of a setting."""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def commands() -> str:
    """The page of the command line: what ``--help`` says."""
    lines = ["# Commands", NOTE, ABOUT_COMMANDS, "", *exit_codes(), ""]
    for path, command in itertools.chain.from_iterable(
        walk(load(name), ("heori", name)) for name in COMMANDS
    ):
        arguments = [each for each in command.params if isinstance(each, TyperArgument)]
        options = [each for each in command.params if each not in arguments]
        lines += [f"{'#' * len(path)} {' '.join(path)}", ""]
        lines += [text(command.help or ""), ""]
        lines += ["```sh", *examples.lines(" ".join(path[1:])), "```", ""]
        if hasattr(command, "commands"):
            continue
        usage = [*path, *map(argument, arguments), *(["[OPTIONS]"] if options else [])]
        lines += ["```text", " ".join(usage), "```", ""]
        if options or arguments:
            lines += ["| | meaning | default |", "|---|---|---|"]
            lines += [row(each, argument(each)) for each in arguments]
            lines += [row(each, option(each)) for each in options]
            lines += [""]
    return "\n".join(lines)


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and those below it."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from walk(child, (*path, name))


def text(help_text: str) -> str:
    """The help of a command as Markdown."""
    return inspect.cleandoc(help_text).replace("\f", "")


def argument(parameter: Any) -> str:
    """An argument as it is written in a usage line."""
    name = (parameter.metavar or parameter.name.upper()).strip("[]")
    name = f"{name} ..." if parameter.nargs == -1 else name
    return name if parameter.required else f"[{name}]"


def option(parameter: Any) -> str:
    """An option with its value: ``--queue, -q NAME``."""
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or 'VALUE'}"


def row(parameter: Any, written: str) -> str:
    """A row of the table of a command."""
    value = parameter.default
    shown = None if isinstance(value, bool) or value is None or callable(value) else value
    if isinstance(shown, list | tuple):
        shown = " ".join(map(str, shown))
    return f"| `{cell(written)}` | {cell(parameter.help or '')} | {f'`{shown}`' if shown else ''} |"


def metrics() -> str:
    """The page of the metrics."""
    lines = ["# Metrics", NOTE]
    headings = {
        "consumer": (
            "Of a consumer",
            f"Each consumer serves these at `/metrics`. All have the label `{CONSUMER}` besides.",
        ),
        "service": ("Of the HTTP service", "`heori serve` serves these at `/metrics`."),
    }
    for source, (heading, about) in headings.items():
        lines += [f"## {heading}", "", about, ""]
        lines += ["| metric | type | labels | meaning |", "|---|---|---|---|"]
        for metric in CATALOGUE.values():
            if metric.source == source:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                lines.append(
                    f"| `{metric.name}` | {metric.kind} | {labels} | {cell(metric.help)} |"
                )
        lines.append("")
    lines += ["## Labels", "", ABOUT_LABELS, "", "| label | values |", "|---|---|"]
    of_metrics = (label for metric in CATALOGUE.values() for label in metric.labels)
    labels = dict.fromkeys([CONSUMER, *of_metrics])
    lines += [
        f"| `{label}` | {label.owner or f'{label.most:,} at most, and `{OTHER}` for all beyond'} |"
        for label in labels
        if not label.values
    ]
    return "\n".join([*lines, ""])


def keys() -> str:
    """The table of keys, from the catalogue and its docstrings."""
    made = Keys()
    lines = ["| key | what it is | when it goes |", "|---|---|---|"]
    for entry in catalogue():
        key = getattr(made, entry.name)(*(f"<{each}>" for each in entry.parameters))
        lines.append(f"| `{key}` | {cell(entry.about)} | {cell(entry.end)} |")
    return "\n".join(lines)


def names() -> str:
    """The page of what programs import: the first paragraph of each docstring."""
    rows: dict[str, list[str]] = {"Names": [], "Errors": []}
    for name in heori.__all__:
        found = getattr(heori, name)
        is_error = isinstance(found, type) and issubclass(found, BaseException)
        about = cell((inspect.getdoc(found) or "").split("\n\n")[0])
        rows["Errors" if is_error else "Names"].append(f"| `{name}` | {about} |")
    lines = [
        "# Python",
        NOTE,
        (
            "Programs import these from `heori`. `help(heori.Producer)` tells more: the arguments "
            "with their units, and the errors."
        ),
        "",
    ]
    for heading, table in rows.items():
        lines += [f"## {heading}", ""]
        if heading == "Errors":
            lines += [
                "`HeoriError` is the base of all but `JobStopped`, which a task should not catch.",
                "",
            ]
        lines += ["| name | what it is |", "|---|---|", *table, ""]
    return "\n".join(lines)


BEGIN, END = "<!-- keys: written by docs/generate.py -->", "<!-- keys end -->"


def pages() -> dict[Path, str]:
    """Every page that is written here, and what it should be."""
    protocol = DOCS / "protocol.md"
    before, _, rest = protocol.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        DOCS / "settings.md": settings(),
        DOCS / "commands.md": commands(),
        DOCS / "metrics.md": metrics(),
        DOCS / "python.md": names(),
        protocol: f"{before}{BEGIN}\n\n{keys()}\n\n{END}{after}",
    }


def main() -> int:
    """Write the pages, or tell which are old."""
    old = [page for page, wanted in pages().items() if page.read_text() != wanted]
    if "--check" in sys.argv[1:]:
        for page in old:
            print(f"{page.name} is old: run python docs/generate.py")
        return 1 if old else 0
    for page, wanted in pages().items():
        page.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
