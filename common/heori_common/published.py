"""What consumers publish of their tasks, and what a producer makes of it that lacks their code.

A job that is sent so is the same as one that is sent with the function: it has the same queue,
times, retries and locks. Its arguments are JSON, are checked by their JSON schema, and are
validated by the consumer.
"""

import hashlib
import inspect
import string
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import (
    PydanticSerializationError,
    SchemaValidator,
    core_schema,
    from_json,
    to_json,
    to_jsonable_python,
)

from heori_common.errors import cut, short, summary
from heori_common.locks.templates import LockTemplates
from heori_common.protocol.job import LockName
from heori_common.rate import Rate, RateTemplate
from heori_common.retry import Retry
from heori_common.tasks import InvalidArguments, Task, UnknownTask, registered
from heori_common.values.arguments import Bound, Sent
from heori_common.values.problems import MOST_TOLD
from heori_common.values.results import Stored
from heori_common.values.schemas import TEXTS, Text, aliases, json_schema
from heori_common.values.schemas import texts as texts_of
from heori_common.values.writing import NATIVE, is_json

OURS = ("heori", "heori_common")  # some of these are imported everywhere
# A larger schema is left out, as are those that would make all of them larger than that: what it
# would refuse is refused by the consumer.
SCHEMA_BYTES, ALL_BYTES = 64_000, 4_000_000
# These are read by pydantic, as the consumer does; others are not looked at.
_FORMATS = {
    "date-time": core_schema.datetime_schema(),
    "date": core_schema.date_schema(),
    "time": core_schema.time_schema(),
    "duration": core_schema.timedelta_schema(),
    "uuid": core_schema.uuid_schema(),
}
_UNREAD = ("email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri", "json-pointer",
           "regex", "relative-json-pointer", "uri", "uri-reference", "uri-template")  # fmt: skip
Kind = Literal["positional only", "any", "*", "keyword only", "**"]
KINDS: dict[Kind, Any] = {
    "positional only": inspect.Parameter.POSITIONAL_ONLY,
    "any": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "*": inspect.Parameter.VAR_POSITIONAL,
    "keyword only": inspect.Parameter.KEYWORD_ONLY,
    "**": inspect.Parameter.VAR_KEYWORD,
}


class Parameter(BaseModel):
    """One parameter of a task."""

    name: str
    kind: Kind = "any"
    required: bool = True
    # What a text can be made of as the consumer would, for the name of a lock.
    text: Text | None = None
    default: str | int | bool | None = None


class Description(BaseModel):
    """What is published of a task: all that is needed to send it, or why that is not possible."""

    refused: str = ""
    queue: str = "default"
    timeout: int = 180
    result_ttl: int | None = None
    retry: list[float] = []
    locks: list[str] = []
    permits: dict[str, int] = {}
    rate: tuple[str, str | None, int] | None = None
    parameters: list[Parameter] = []
    arguments: dict[str, Any] = Field(default={}, description="JSON schema")


def offered(modules: Collection[str]) -> dict[str, Task[..., Any]]:
    """The registered tasks by name, of Heori's own only those in modules that are named."""
    return {
        name: task
        for name, task in sorted(registered().items())
        if task.function.__module__ in modules
        or task.function.__module__.partition(".")[0] not in OURS
    }


def describe(task: Task[..., Any]) -> Description:
    """What to publish of a task."""
    try:
        parameters = list(_parameters(task))
        rate = None if task.rate is None else task.rate.given
        _check_templates(task.locks, task.permits, rate, parameters)
    except ValueError as error:
        return Description(refused=str(error))
    try:
        arguments = json_schema(task.schema)
    except Exception:  # the types of a task may do anything when they are asked
        arguments = {}
    return Description(
        queue=task.queue,
        timeout=task.timeout,
        result_ttl=task.result_ttl,
        retry=list(task.retry.delays()) if task.retry else [],
        locks=list(task.locks),
        permits=dict(task.permits),
        rate=rate,
        parameters=parameters,
        arguments=arguments if len(to_json(arguments)) <= SCHEMA_BYTES else {},
    )


def encode(described: Description) -> bytes:
    """As it is published."""
    return described.model_dump_json(exclude_defaults=True).encode()


def describe_all(tasks: Mapping[str, Task[..., Any]]) -> dict[str, bytes]:
    """What to publish of tasks, by their names."""
    written: dict[str, bytes] = {}
    left = ALL_BYTES
    for name, task in tasks.items():
        described = describe(task)
        wire = encode(described)
        if len(wire) > left:
            wire = encode(described.model_copy(update={"arguments": {}}))
        left -= len(wire)
        written[name] = wire
    return written


def version_of(described: Mapping[str, bytes]) -> str:
    """What tells tasks from others: the same for all consumers that have the same."""
    digest = hashlib.blake2b(digest_size=12)
    for each in sorted(described.items()):
        digest.update(to_json((each[0], each[1].decode())))
    return digest.hexdigest()


class NamedTask:
    """A task that is known by its name, and by what a consumer has published of it.

    Its results are what JSON makes of them.

    Attributes:
        name, queue, timeout, result_ttl, retry, needs, rate: as of `heori_common.tasks.Task`.
        signature: of its parameters.
        is_declared: whether it stands under @task.

    Raises:
        UnknownTask: it cannot be sent by its name; or what was published makes no sense.
    """

    is_declared = True

    def __init__(self, name: str, described: bytes) -> None:
        self.name = name
        try:
            known = Description.model_validate_json(described)
            if known.refused:
                raise UnknownTask(
                    f"{short(name)} cannot be sent by its name: {known.refused}; send the function"
                )
            self.queue = known.queue
            self.timeout = known.timeout
            self.result_ttl = known.result_ttl
            self.retry = Retry(max=len(known.retry), intervals=known.retry) if known.retry else None
            self._parameters = {each.name: each for each in known.parameters}
            self.signature = inspect.Signature([_parameter(each) for each in known.parameters])
            _check_templates(known.locks, known.permits, known.rate, known.parameters)
            function = _like(name, self.signature)
            self.needs: LockTemplates | None = None
            if known.locks or known.permits:
                self.needs = LockTemplates(function, known.locks, known.permits)
            self.rate = RateTemplate(function, *known.rate) if known.rate else None
            self._problems = _Problems(known.arguments, self.signature)
        except (ValueError, TypeError) as error:
            raise UnknownTask(
                f"what a consumer has published of {short(name)} makes no sense: {summary(error)}"
            ) from error

    def __repr__(self) -> str:
        return f"<NamedTask {self.name}>"

    def to_send(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        from_json: bool = False,
        strict: bool = False,
    ) -> Sent:
        """Check arguments, and write them as JSON.

        Args:
            from_json: they were read from JSON.
            strict: refuse what is no JSON as it stands: it would arrive as something else, where
                no hint says what it was.

        Raises:
            InvalidArguments: they do not fit, or have no JSON form.
        """
        where, problems = _placed(self.signature, args, kwargs)
        if not problems:
            json_args, json_kwargs = list(args), dict(kwargs)
            for place, name in where.items():
                given: Any = json_args if isinstance(place, int) else json_kwargs
                try:
                    given[place] = given[place] if from_json else _json(given[place], strict=strict)
                except (PydanticSerializationError, ValueError, RecursionError) as error:
                    problems.append(
                        f"{cut(name)}: {cut(str(error), 300)} (got {short(given[place])})"
                    )
        if not problems:
            sent = json_args, json_kwargs
            bound = self.signature.bind(*sent[0], **sent[1]).arguments
            problems = self._problems.of(
                {_property(self.signature.parameters[each]): bound[each] for each in bound}
            )
        if problems:
            shown = problems[:MOST_TOLD]
            more = "; and more" if len(problems) > MOST_TOLD else ""
            raise InvalidArguments(f"{self.name}: {'; '.join(shown)}{more}")
        return Sent(json_args, json_kwargs, sent, None)

    def locks_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[LockName, ...]:
        """As `Task.locks_of`.

        Raises:
            InvalidArguments: they make a name that no lock can have.
        """
        if self.needs is None:
            return ()
        try:
            return self.needs.fill_in(*self._read(args, kwargs))
        except ValueError as error:
            raise InvalidArguments(f"{self.name}: {summary(error)}") from error

    def rate_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rate | None:
        """As `Task.rate_of`.

        Raises:
            InvalidArguments: they make a name that no rate can have.
        """
        if self.rate is None:
            return None
        try:
            return self.rate.fill_in(*self._read(args, kwargs))
        except ValueError as error:
            raise InvalidArguments(f"{self.name}: {summary(error)}") from error

    def _read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
        """The arguments of which texts are made, as the consumer will have them."""
        bound = self.signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if (text := self._parameters[name].text) is not None and value is not None:
                bound.arguments[name] = _READERS[text].validate_python(value)
        return bound.args, bound.kwargs

    def load_result(self, stored: Stored) -> Any:
        """A result as JSON has it."""
        return from_json(stored.json)


def not_published(name: str, others: Collection[str]) -> UnknownTask:
    """What is raised for a name that no consumer has published."""
    import difflib  # noqa: PLC0415 - few names are wrong

    if not others:
        return UnknownTask(
            f"{short(name)} is not known: no consumer that has tasks has run here for a day"
        )
    close = difflib.get_close_matches(name, others, 3, 0.7)
    meant = f"; is it {' or '.join(map(short, close))}?" if close else ""
    return UnknownTask(
        f"{short(name)} is none of the {len(others)} tasks that consumers have{meant}"
    )


_READERS = {name: SchemaValidator(schema) for name, schema in TEXTS.items()}


def _parameters(task: Task[..., Any]) -> Iterator[Parameter]:
    try:
        signature = inspect.signature(task.function)
    except ValueError:
        raise ValueError("it is a function in C that does not tell its parameters") from None
    if other := aliases(task.schema):
        raise ValueError(f"{short(other[0])} has an alias")
    kinds = {kind: name for name, kind in KINDS.items()}
    texts = texts_of(task.schema)
    for each in signature.parameters.values():
        has_default = each.default is not each.empty
        text = texts.get(each.name)
        if has_default and each.default is not None and type(each.default).__name__ != text:
            text = None  # it is not validated, and so is written as it is
        yield Parameter(
            name=each.name,
            kind=kinds[each.kind],
            required=not has_default and not kinds[each.kind].startswith("*"),
            text=text,
            default=each.default if has_default and text is not None else None,
        )


def _parameter(described: Parameter) -> inspect.Parameter:
    has_default = not described.required and not described.kind.startswith("*")
    return inspect.Parameter(
        described.name,
        KINDS[described.kind],
        default=described.default if has_default else inspect.Parameter.empty,
    )


def _like(name: str, signature: inspect.Signature) -> Callable[..., None]:
    """A function that is asked for its name and its parameters in place of the task's."""

    def function() -> None: ...

    function.__module__, _, function.__qualname__ = name.rpartition(".")
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _check_templates(
    locks: Collection[str],
    permits: Collection[str],
    rate: tuple[str, str | None, int] | None,
    parameters: Collection[Parameter],
) -> None:
    """See that all names can be made as the consumer would make them.

    Raises:
        ValueError: one cannot.
    """
    known = {each.name for each in parameters if each.text is not None}
    for template in (*locks, *permits, (rate and rate[1]) or ""):
        for _, field, form, conversion in string.Formatter().parse(template):
            if field is not None and (field not in known or form or conversion):
                raise ValueError(
                    f"only its code can fill in {short(template)}: {{{field}}} stands for no plain "
                    "text, whole number or truth value"
                )


def _json(value: Any, *, strict: bool) -> Any:
    if strict and not is_json(value):
        raise ValueError("it is no JSON (HEORI_STRICT)")
    return value if type(value) in NATIVE else to_jsonable_python(value)


def _property(parameter: inspect.Parameter) -> str:
    match parameter.kind:
        case parameter.VAR_POSITIONAL:
            return "*"
        case parameter.VAR_KEYWORD:
            return "**"
    return parameter.name


def _placed(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[int | str, str], list[str]]:
    """What each argument is called, and what is wrong with their number and names."""
    every = signature.parameters.values()
    in_order = [each for each in every if each.kind <= each.POSITIONAL_OR_KEYWORD]
    by_name = {
        each.name for each in every if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    takes_more = any(each.kind == each.VAR_POSITIONAL for each in every)
    takes_others = any(each.kind == each.VAR_KEYWORD for each in every)
    where: dict[int | str, str] = {}
    problems = []
    for place, value in enumerate(args):
        where[place] = in_order[place].name if place < len(in_order) else f"argument {place + 1}"
        if place >= len(in_order) and not takes_more:
            problems.append(f"{where[place]}: Unexpected positional argument (got {short(value)})")
    given = {each.name for each in in_order[: len(args)]}
    for name, value in kwargs.items():
        where[name] = name
        if name in given and name in by_name:
            problems.append(f"{cut(name)}: Got multiple values for argument (got {short(value)})")
        elif name not in by_name and not takes_others:
            problems.append(f"{cut(name)}: Unexpected keyword argument (got {short(value)})")
    for each in every:
        is_given = each.name in given or (each.name in by_name and each.name in kwargs)
        may_miss = each.default is not each.empty or not each.kind <= each.KEYWORD_ONLY
        if not is_given and not may_miss and each.kind != each.VAR_POSITIONAL:
            problems.append(f"{each.name}: Missing required argument")
    return where, problems


class _Problems:
    """Tells what of some arguments does not fit a JSON schema.

    Args:
        signature: of the task.

    Raises:
        ValueError: it is no schema.
    """

    def __init__(self, schema: dict[str, Any], signature: inspect.Signature) -> None:
        import jsonschema_rs  # noqa: PLC0415 - 40 ms, for which few have use

        def refuse(uri: str) -> Any:
            raise ValueError(f"{short(uri)} stands elsewhere")

        formats = {name: _reads(read) for name, read in _FORMATS.items()}
        formats |= dict.fromkeys(_UNREAD, lambda _: True)
        self._validator = jsonschema_rs.Draft202012Validator(
            schema, formats=formats, validate_formats=True, retriever=refuse, mask="it"
        )
        every = signature.parameters.values()
        self._in_order = sum(each.kind <= each.POSITIONAL_OR_KEYWORD for each in every)

    def of(self, arguments: Mapping[str, Any]) -> list[str]:
        """A sentence for each, and one more than people are told where there are more."""
        try:
            to_json(arguments)
        except (PydanticSerializationError, ValueError) as error:  # a text that is no Unicode
            return [f"the arguments have no JSON form: {cut(str(error), 300)}"]
        found = islice(self._validator.iter_errors(dict(arguments)), MOST_TOLD + 1)
        return [self._told(error) for error in found]

    def _told(self, error: Any) -> str:
        while branches := getattr(error.kind, "context", None):
            firsts = [branch[0] for branch in branches if branch]
            if not firsts:
                break
            # The choice that was gone into furthest is most likely the one that was meant.
            error = max(firsts, key=lambda each: len(each.instance_path))
        match error.instance_path:
            case ["*", int(place), *rest]:
                path = [f"argument {self._in_order + place + 1}", *rest]
            case ["**", *path]:
                pass
            case path:
                pass
        where = ".".join(map(str, path)) or "arguments"
        return f"{cut(where)}: {cut(error.message, 300)} (got {short(error.instance)})"


def _reads(schema: core_schema.CoreSchema) -> Any:
    reader = SchemaValidator(schema)

    def fits(text: str) -> bool:
        try:
            reader.validate_json(to_json(text))
        except ValidationError:
            return False
        return True

    return fits
