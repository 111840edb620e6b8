"""The arguments of a function: checked when they are sent, and put together where they arrive."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import (
    ArgsKwargs,
    core_schema,
    from_json,
    to_json,
    to_jsonable_python,
)

from heori_common.readable import check_readable
from heori_common.values.equality import same
from heori_common.values.forms import Unwritable
from heori_common.values.hints import fingerprint, forms_of, has_any, kind_of
from heori_common.values.validation import built, validator_of
from heori_common.values.writing import Forms, LooseForms, Types, is_json

Bound = tuple[tuple[Any, ...], dict[str, Any]]
Place = int | str  # of an argument: its number, or its name


class Sent(NamedTuple):
    """Arguments that can be sent."""

    args: Sequence[Any]  # as the function gets them
    kwargs: Mapping[str, Any]
    json: tuple[Sequence[Any], Mapping[str, Any]]  # the same, as they are written
    types: bytes | None  # None where JSON says all


class _Given(NamedTuple):
    """An argument that was validated when it was sent."""

    value: Any


class _Unread(NamedTuple):
    """An argument in JSON, which is still to be validated."""

    json: Any


class Arguments:
    """How the arguments of one function are checked, written and read.

    Raises:
        PydanticUserError, NameError, SyntaxError: a hint is no type.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        try:
            inspect.signature(function)
        except ValueError:  # a function in C that does not tell its parameters
            self._schema: Mapping[str, Any] = {}
            self._kind = kind_of({"type": "any"})
            return

        @functools.wraps(function)
        def capture(*args: Any, **kwargs: Any) -> Bound:
            return args, kwargs

        adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", capture))
        self._schema = adapter.core_schema
        self._kind = kind_of(self._schema)
        if self._kind == "typed":
            self._validate = validator_of(adapter).validate_python
        else:  # nothing in it needs more care; and the call would return just this
            self._validate = built(self._schema["arguments_schema"]).validate_python

    @property
    def schema(self) -> Mapping[str, Any]:
        """The core schema of the function; empty for one in C that does not tell its parameters."""
        return self._schema

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
        """Validate arguments that are Python's."""
        if not self._schema:
            return tuple(args), dict(kwargs)
        bound: Bound = self._validate(ArgsKwargs(tuple(args), dict(kwargs)))
        return bound

    def bind_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
        """Validate arguments that were read from JSON, by the rules for JSON."""
        if self._kind != "typed":
            return self.bind(args, kwargs)
        raw = ArgsKwargs(
            tuple(map(_Unread, args)), {name: _Unread(kwargs[name]) for name in kwargs}
        )
        return cast("Bound", self._from_json(raw))

    def write(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, from_json: bool, strict: bool
    ) -> Sent:
        """Validate arguments, and write those that were given.

        The defaults of the others are for the consumer's version of the task to fill in.

        Args:
            from_json: they were read from JSON.
            strict: refuse what no hint names, and what would arrive as its JSON.

        Raises:
            Unwritable: one would not arrive as what it is; its path begins with the argument.
        """
        bound_args, bound_kwargs = (self.bind_json if from_json else self.bind)(args, kwargs)
        if not kwargs:
            bound_args, bound_kwargs = bound_args[: len(args)], {}
        elif kwargs.keys() <= bound_kwargs.keys():  # else some were given by an alias
            bound_args = bound_args[: len(args)]
            bound_kwargs = {name: bound_kwargs[name] for name in kwargs}
        if self._kind == "plain" or (
            self._kind == "any"
            and not strict
            and all(map(is_json, (*bound_args, *bound_kwargs.values())))
        ):
            return Sent(bound_args, bound_kwargs, (bound_args, bound_kwargs), None)
        return self._write(args, kwargs, (bound_args, bound_kwargs), strict=strict)

    def write_after(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, strict: bool) -> Sent:
        """As `write`, of all but the first argument, which is known when the job begins."""
        if not self._schema:
            return self.write(args, kwargs, from_json=False, strict=strict)
        bound_args, bound_kwargs = cast(
            "Bound", self._receive(ArgsKwargs((_Given(None), *args), dict(kwargs)))
        )
        bound_args = bound_args[1 : len(args) + 1]
        bound_kwargs = {name: bound_kwargs[name] for name in kwargs if name in bound_kwargs}
        if self._kind == "plain":
            return Sent(bound_args, bound_kwargs, (bound_args, bound_kwargs), None)
        return self._write(args, kwargs, (bound_args, bound_kwargs), strict=strict, first=1)

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any], types: bytes) -> Bound:
        """The arguments that were written.

        Where the hints here are not those of the sender, they are validated again.
        """
        print_, of_args, of_kwargs = from_json(types)
        if print_ != self._fingerprint:
            return cast("Bound", self._receive(
                ArgsKwargs(
                    tuple(_loosely(*each) for each in zip(args, of_args, strict=True)),
                    {name: _loosely(kwargs[name], of_kwargs[name]) for name in kwargs},
                ), by_alias=True, by_name=True,
            ))  # fmt: skip
        return self._together(
            [self._read(*each) for each in zip(args, of_args, strict=True)],
            {name: self._read(kwargs[name], of_kwargs[name]) for name in kwargs},
        )

    def read_after(
        self, first: Any, args: Sequence[Any], kwargs: Mapping[str, Any], types: bytes | None
    ) -> Bound:
        """The arguments of a job that gets the first of them when it begins; it is validated."""
        if not self._schema:
            return (first, *args), dict(kwargs)
        of_args: Sequence[Types] = [False] * len(args)
        of_kwargs: Mapping[str, Types] = dict.fromkeys(kwargs, False)
        if types is not None:
            print_, of_args, of_kwargs = from_json(types)
            if print_ != self._fingerprint:
                rest = [_loosely(*each) for each in zip(args, of_args, strict=True)]
                named = {name: _loosely(kwargs[name], of_kwargs[name]) for name in kwargs}
                together = ArgsKwargs((first, *rest), named)
                return cast("Bound", self._receive(together, by_alias=True, by_name=True))
        given = [self._read(*each) for each in zip(args, of_args, strict=True)]
        read = {name: self._read(kwargs[name], of_kwargs[name]) for name in kwargs}
        return cast("Bound", self._receive(ArgsKwargs((first, *given), read)))

    def _read(self, json: Any, types: Types) -> _Unread | _Given:
        return _Unread(json) if types is False else _Given(self._forms.read(json, types))

    def _write(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        bound: Bound,
        *,
        strict: bool,
        first: int = 0,
    ) -> Sent:
        given, values = _by_place(args, kwargs), _by_place(*bound)
        written: dict[Place, tuple[Any, Types]] = {}
        refused: dict[Place, Unwritable] = {}
        for name, value in values.items():
            try:
                written[name] = self._forms.write(value, strict=strict)
            except Unwritable as error:
                error.path.insert(0, self._name(name if isinstance(name, str) else name + first))
                refused[name] = error
                # What it was made of may be sent in its place, and be validated there.
                try:
                    written[name] = to_jsonable_python(given[name]), False
                except Exception:  # it has no JSON form, or was given by an alias
                    raise error from None
        sent: Any = [], {}
        types: Any = [], {}
        for name, (json, its_types) in written.items():
            if isinstance(name, int):
                sent[0].append(json)
                types[0].append(its_types)
            else:
                sent[1][name] = json
                types[1][name] = its_types
        if refused:
            self._check(refused, values, sent, types)
        if self._kind == "any" and not any(types[0]) and not any(types[1].values()):
            return Sent(*bound, sent, None)
        return Sent(*bound, sent, check_readable(to_json([self._fingerprint, *types])))

    def _check(
        self,
        refused: Mapping[Place, Unwritable],
        values: Mapping[Place, Any],
        sent: tuple[list[Any], dict[str, Any]],
        types: tuple[list[Types], dict[str, Types]],
    ) -> None:
        """See that what is validated where it arrives becomes what it has become here.

        Raises:
            Unwritable: it does not.
        """
        try:
            args, kwargs = from_json(to_json(sent))
            there = _by_place(*self.read(args, kwargs, to_json([self._fingerprint, *types])))
        except Exception:  # what is JSON fits there no more
            raise next(iter(refused.values())) from None
        for name, error in refused.items():
            if not same(values[name], there[name]):
                raise error

    def _name(self, at: Place) -> str:
        if isinstance(at, str):
            return at
        names = list(inspect.signature(self._function).parameters.values())[: at + 1]
        is_named = len(names) > at and names[at].kind <= names[at].POSITIONAL_OR_KEYWORD
        return names[at].name if is_named else f"argument {at + 1}"

    @functools.cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._schema)

    @functools.cached_property
    def _forms(self) -> Forms:
        hints = get_type_hints(self._function, include_extras=True) if self._schema else {}
        hints.pop("return", None)
        return Forms(forms_of(hints.values()), has_any=has_any(self._schema))

    @functools.cached_property
    def _from_json(self) -> Callable[..., Any]:
        return self._receiver(by_name=False)

    @functools.cached_property
    def _receive(self) -> Callable[..., Any]:
        return self._receiver(by_name=True)

    def _together(
        self, args: Sequence[_Unread | _Given], kwargs: Mapping[str, _Unread | _Given]
    ) -> Bound:
        if not self._schema:
            return tuple(each[0] for each in args), {name: kwargs[name][0] for name in kwargs}
        return cast("Bound", self._receive(ArgsKwargs(tuple(args), dict(kwargs))))

    def _receiver(self, *, by_name: bool) -> Callable[..., Any]:
        """What validates arguments each of which may be given, or in JSON.

        Args:
            by_name: their names are those of the parameters, and never aliases.
        """
        definitions = self._schema.get("definitions", [])
        call = self._schema["schema"] if definitions else self._schema
        arguments = dict(call["arguments_schema"])
        arguments["arguments_schema"] = [
            {
                key: _with_default(value, definitions) if key == "schema" else value
                for key, value in each.items()
                if not (by_name and key == "alias")
            }
            for each in arguments["arguments_schema"]
        ]
        if "var_args_schema" in arguments:
            arguments["var_args_schema"] = _received(arguments["var_args_schema"], definitions)
        if "var_kwargs_schema" in arguments:
            received = _received if arguments["var_kwargs_mode"] == "uniform" else _received_all
            arguments["var_kwargs_schema"] = received(arguments["var_kwargs_schema"], definitions)
        schema: Any = {**call, "arguments_schema": arguments}
        if definitions:
            schema = {**self._schema, "schema": schema}
        return built(schema).validate_python


def _by_place(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[Place, Any]:
    places: dict[Place, Any] = dict(enumerate(args))
    return places | dict(kwargs)


def _loosely(json: Any, types: Types) -> Any:
    return json if types is False else LooseForms().read(json, types)


def _with_default(schema: Any, definitions: list[Any]) -> Any:
    if schema["type"] == "default":
        return {**schema, "schema": _received(schema["schema"], definitions)}
    return _received(schema, definitions)


def _reader(schema: Any, definitions: list[Any]) -> Callable[[Any], Any]:
    validator = functools.cache(lambda: built(core_schema.definitions_schema(schema, definitions)))
    return lambda json: validator().validate_json(to_json(json))


def _received(schema: Any, definitions: list[Any]) -> Any:
    read = _reader(schema, definitions)

    def receive(value: Any, validate: Callable[[Any], Any]) -> Any:
        if type(value) is _Given:
            return value.value
        return read(value.json) if type(value) is _Unread else validate(value)

    return core_schema.no_info_wrap_validator_function(receive, schema)


def _received_all(schema: Any, definitions: list[Any]) -> Any:
    """Of keyword arguments that one typed dict describes."""
    read = _reader(schema, definitions)

    def receive(values: dict[str, Any], validate: Callable[[Any], Any]) -> Any:
        if not all(type(each) in (_Given, _Unread) for each in values.values()):
            return validate(values)
        given = {name: each.value for name, each in values.items() if type(each) is _Given}
        raw = {name: each.json for name, each in values.items() if type(each) is _Unread}
        return given if given and not raw else read(raw) | given

    return core_schema.no_info_wrap_validator_function(receive, schema)
