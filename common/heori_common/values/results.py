"""What a function returns: checked in its worker, and put together where it is read."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from heori_common.errors import summary
from heori_common.readable import check_readable
from heori_common.values.equality import same
from heori_common.values.forms import Unwritable
from heori_common.values.hints import fingerprint, forms_of, has_any, kind_of
from heori_common.values.validation import validator_of
from heori_common.values.writing import Forms, LooseForms, is_json


class Stored(NamedTuple):
    """A result as it is stored."""

    json: bytes
    types: bytes | None = None  # None where JSON says all


def read_loosely(stored: Stored) -> Any:
    """A result as it is, without the hints of the task that has returned it.

    Raises:
        ValueError: it is damaged.
    """
    if stored.types is None:
        return from_json(stored.json)
    try:
        _, types = from_json(stored.types)
        return LooseForms().read(from_json(stored.json), types)
    except Exception as error:  # forms raise anything when they get what they have not written
        raise ValueError(f"it is damaged: {summary(error)}") from error


class Returned:
    """How what a hint promises is checked, written and read.

    Raises:
        PydanticUserError, NameError, SyntaxError: the hint is no type.
    """

    def __init__(self, hint: Any) -> None:
        self._hint = hint
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        self._schema: Mapping[str, Any] = adapter.core_schema
        self._kind = kind_of(self._schema)
        self._validator = validator_of(adapter)

    def write(self, value: Any, *, strict: bool) -> Stored | None:
        """Validate a result, and write it; None, which RQ does not store, stays None.

        Raises:
            ValidationError: it does not fit.
            Unwritable: it would not be read as what it is.
            PydanticSerializationError, ValueError, RecursionError: it has no JSON form.
        """
        checked = self._validator.validate_python(value)
        if checked is None:
            return None
        if self._kind == "plain" or (self._kind == "any" and not strict and is_json(checked)):
            return Stored(check_readable(to_json(checked)))
        try:
            json, types = self._forms.write(checked, strict=strict)
        except Unwritable:
            if (stored := self._by_its_hint(checked)) is None:
                raise
            return stored
        if self._kind == "any" and types is None:
            return Stored(check_readable(to_json(json)))
        kinds = to_json([self._fingerprint, types])
        return Stored(check_readable(to_json(json)), check_readable(kinds))

    def read(self, stored: Stored) -> Any:
        """The result that was written; it is validated, too, if it was by other hints.

        Raises:
            ValueError, TypeError, LookupError: it does not fit, because another version of the
                task wrote it.
        """
        if stored.types is None:
            return self._validator.validate_json(stored.json, by_alias=True, by_name=True)
        print_, types = from_json(stored.types)
        if print_ == self._fingerprint:
            return self._forms.read(from_json(stored.json), types)
        loose = LooseForms().read(from_json(stored.json), types)
        return self._validator.validate_python(loose, by_alias=True, by_name=True)

    def _by_its_hint(self, checked: Any) -> Stored | None:
        """A result as its JSON, if that becomes the same where it is validated.

        So arguments travel that have no other way, such as a defaultdict.
        """
        try:
            json = check_readable(to_json(checked))
            read = self._validator.validate_json(json, by_alias=True, by_name=True)
            return Stored(json) if same(read, checked) else None
        except Exception:  # the code of its classes may do anything
            return None

    @functools.cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._schema)

    @functools.cached_property
    def _forms(self) -> Forms:
        return Forms(forms_of([self._hint]), has_any=has_any(self._schema))
