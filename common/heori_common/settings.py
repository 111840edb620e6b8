"""Every setting, and the only place that reads the environment."""

import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from heori_common.duration import LONGEST_S
from heori_common.errors import InvalidSetting, cut, short
from heori_common.loggers import standard_logger
from heori_common.names import check_queue, check_seen
from heori_common.protocol.commands import MOST_WAITING, UNKNOWN_WAIT_S
from heori_common.public import public
from heori_common.redis.address import Address, with_password_file
from heori_common.redis.tls_files import unreadable

Model = Literal["threads", "processes", "hybrid", "asyncio", "auto", "inline"]
Serializer = Literal["json", "pickle"]
Pickle = Literal["restricted", "unrestricted"]
Records = Literal["fast", "strict"]
MIN_TOKEN_CHARS = 16
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Deadlock = Literal["raise", "warn", "off"]

# What each kind of program reads: it fails by these, when it begins, and by no others.
_OF_ALL = ("redis_password_file", "redis_url", "key_prefix")
_OF_TASKS = ("tasks", "allow", "log_level")
PRODUCER = (
    *_OF_ALL,
    "max_payload",
    "middleware",
    "queue_limits",
    "when_full",
    "full_timeout",
    "key_ttl",
    "strict",
)
CONSUMER = (
    *_OF_ALL,
    *_OF_TASKS,
    "accept",
    "deadlock",
    "gil_source",
    "grace",
    "lease",
    "lend_slots",
    "max_deliveries",
    "max_payload",
    "metrics_host",
    "metrics_port",
    "middleware",
    "pickle",
    "records",
    "strict",
    "target_wait",
    "unknown_wait",
)
SERVICE = (
    *PRODUCER,
    *_OF_TASKS,
    "api_host",
    "api_max_body",
    "api_port",
    "api_read_tokens",
    "api_root",
    "api_tokens",
)
LOAD = (*PRODUCER, "log_level", "metrics_host", "metrics_port")

# What Kubernetes tells all pods beside a Service that is called "heori-metrics", in a variable
# HEORI_METRICS_PORT; it names no other of that kind as a setting is named.
_OF_A_SERVICE = re.compile(r"(?:tcp|udp|sctp)://\S+")
_IN_FILES = {
    "redis_url": "redis_password_file",
    "api_tokens": "api_tokens_file",
    "api_read_tokens": "api_read_tokens_file",
}
_OF_RQ = {"key_prefix": "RQ_KEY_PREFIX"}  # variables that RQ reads, too
# What may hold a password, or is one; and the files, which the sentence about them names anyway.
_UNTOLD = {*_IN_FILES, *_IN_FILES.values()}

log = standard_logger(__name__)


def _split(value: object) -> object:
    """A list in an environment variable is written with commas: ``a,b``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


ANY_NAME = ""  # the prefix that each name begins with


def _end_at_dot(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """``myapp`` means ``myapp.``: it must not let ``myapp_evil`` in; ``*`` lets in all."""
    if "*" in prefixes:
        return (ANY_NAME,)
    for prefix in prefixes:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", prefix):  # it would let nothing in, silently
            raise ValueError(f"{short(prefix)} is no beginning of names, such as myapp.jobs.")
    return tuple(prefix if prefix.endswith(".") else prefix + "." for prefix in prefixes)


def _limits(value: object) -> object:
    """Numbers by name in an environment variable: ``a=100,b=200``."""
    if not isinstance(value, str):
        return value
    limits = {}
    for part in value.split(","):
        if part.strip():
            name, equals, number = part.rpartition("=")
            if not equals or not number.strip().isdecimal():
                raise ValueError(
                    f"{short(part.strip())}: QUEUE=JOBS is needed, such as orders=10000"
                )
            limits[check_queue(name.strip())] = int(number)
    return limits


def _secret(file: Path) -> str:
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{file} is empty")
    return secret


def _long_enough(tokens: Iterable[SecretStr]) -> tuple[SecretStr, ...]:
    tokens = tuple(tokens)
    secrets = [token.get_secret_value().rpartition(":")[2] for token in tokens]
    if any(len(secret) < MIN_TOKEN_CHARS for secret in secrets):
        raise ValueError(f"a token needs {MIN_TOKEN_CHARS} characters at least")
    return tokens


def _tokens(file: Path) -> tuple[SecretStr, ...]:
    lines = map(str.strip, _secret(file).splitlines())
    return _long_enough(SecretStr(line) for line in lines if line)


def _holds_a_secret(file: Path | None) -> Path | None:
    if file is not None:
        _secret(file)
    return file


def _holds_tokens(file: Path | None) -> Path | None:
    if file is not None:
        _tokens(file)
    return file


def _tells_of_a_service(value: object) -> bool:
    return isinstance(value, str) and _OF_A_SERVICE.fullmatch(value) is not None


Name = Annotated[str, AfterValidator(partial(check_seen, "name"))]
Names = Annotated[tuple[Name, ...], BeforeValidator(_split)]
# What no number of things or bytes exceeds: scripts in Redis reckon with them, too.
MOST = 1_000_000_000_000


@public
class Settings(BaseModel):
    """Read from ``HEORI_*`` environment variables; the command line overrides some.

    A variable that is empty counts as not set. One that does not fit fails nothing but what reads
    it.

    Raises:
        InvalidSetting: a value that is given does not fit. So does each reading of a setting whose
            variable does not fit.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,  # a URL may hold a password
    )

    redis_password_file: Annotated[Path | None, AfterValidator(_holds_a_secret)] = Field(
        default=None,
        description="A file with the password of the server and its sentinels, for what the URL "
        "leaves out. It is read for each connection, so that a new password needs no restart.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validate_default=True,
        description="The server, Redis 7 or newer or Valkey; or the sentinels that know it, as "
        "redis+sentinel://host1:26379,host2:26379/NAME.",
        repr=False,
    )
    key_prefix: str = Field(
        default="rq",
        pattern=r"^[A-Za-z0-9_.:{}-]+$",
        description="The beginning of all keys in Redis. RQ reads the same variable.",
    )
    tasks: Names = Field(
        default=(), description="Modules to import. Their functions with @task may run."
    )
    allow: Annotated[Names, AfterValidator(_end_at_dot)] = Field(
        default=(),
        description="Prefixes of other functions that may run: `myapp.` lets in all below `myapp`, "
        "`*` whatever a job names, as rq does.",
    )
    accept: Annotated[tuple[Serializer, ...], BeforeValidator(_split)] = Field(
        default=("json",),
        description="Serializers whose payloads are read: json, pickle. rq pickles by default.",
    )
    pickle: Pickle = Field(
        default="restricted",
        description="How pickles are read. restricted: values, and what is defined under an "
        "allowed prefix. unrestricted: as rq does, which runs any code that the sender likes.",
    )
    records: Records = Field(
        default="fast",
        description="When RQ's tools see that a job runs. fast: its execution is recorded once "
        "it has run for 1 to 2 s. strict: each as early as rq records it, which takes longer.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse arguments and results for which there is no hint, or Any, when they "
        "would arrive as another type.",
    )
    middleware: Names = Field(
        default=(),
        description="Classes of middleware that run around each job, and where it is sent.",
    )
    lease: float = Field(
        default=30.0,
        ge=1.0,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Seconds until the jobs of a consumer that has died are reclaimed.",
    )
    max_deliveries: int = Field(
        default=3,
        ge=1,
        le=MOST,
        description="Deliveries after which a job that has come to no end becomes a dead letter.",
    )
    unknown_wait: float = Field(
        default=UNKNOWN_WAIT_S,
        ge=0.0,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Seconds for which a job waits whose function is missing in the code of all "
        "consumers of its queue; then it fails. 0 fails it at the first consumer that does not "
        "have it.",
    )
    max_payload: int = Field(
        default=1_000_000,
        ge=1,
        le=MOST,
        description="Bytes of the arguments of a job, or of its result, at most: as JSON, before "
        "they are compressed.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        default="info",
        description="The least that is logged: debug, info, warning, error or critical.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of /metrics, /livez and /readyz. 0 takes any free one, which is told at "
        "the start.",
    )
    metrics_host: Name = Field(
        default="127.0.0.1", description="Address that /metrics, /livez and /readyz listen on."
    )
    queue_limits: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=MOST_WAITING)]], BeforeValidator(_limits)
    ] = Field(
        default_factory=dict,
        description="Jobs that may wait in each queue, such as orders=10000. Each producer writes "
        "them to Redis once.",
    )
    when_full: Literal["block", "reject", "drop_oldest"] = Field(
        default="block",
        description="The reaction of a producer to a full queue: it waits for room, raises "
        "QueueFull, or drops the job that has waited longest.",
    )
    full_timeout: float | None = Field(
        default=None,
        ge=0.0,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Seconds to wait for room at most. Without it, a producer waits as long as it "
        "takes.",
    )
    key_ttl: int = Field(
        default=24 * 3600,
        ge=1,
        le=int(LONGEST_S),
        description="Seconds for which an idempotency key holds.",
    )
    api_tokens_file: Annotated[Path | None, AfterValidator(_holds_tokens)] = Field(
        default=None, description="A file with further tokens, one on each line."
    )
    api_tokens: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = Field(
        default=(),
        validate_default=True,
        description="Tokens that callers of `heori serve` may name, each of 16 characters at "
        "least. A name and a colon may stand before one: `ana:TOKEN`. Without any, it listens to "
        "this machine only.",
    )
    api_read_tokens_file: Annotated[Path | None, AfterValidator(_holds_tokens)] = Field(
        default=None, description="A file with further tokens that may only read."
    )
    api_read_tokens: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = Field(
        default=(),
        validate_default=True,
        description="Tokens, written in the same way, whose callers may look and change nothing.",
    )
    api_host: Name = Field(
        default="127.0.0.1",
        description="Address that `heori serve` listens on. Beyond this machine it needs tokens.",
    )
    api_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of `heori serve`. 0 takes any free one."
    )
    api_root: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        description="Path under which a proxy shows `heori serve`, such as /heori.",
    )
    api_max_body: int = Field(
        default=10_000_000,
        ge=1,
        le=MOST,
        description="Bytes of a request to `heori serve`, at most.",
    )
    gil_source: Literal["external", "internal", "estimate"] = Field(
        default="external",
        description="How the states of threads are found. Where that does not work, the next of "
        "these is used.",
    )
    grace: float = Field(
        default=25.0,
        ge=0.0,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Seconds that running jobs get to finish on SIGTERM.",
    )

    lend_slots: int = Field(
        default=64,
        ge=0,
        le=1000,
        description="Slots that a worker adds at most while its jobs wait for other jobs.",
    )
    target_wait: float = Field(
        default=10.0,
        ge=0.1,
        le=LONGEST_S,
        allow_inf_nan=False,
        description="Seconds for which a job should wait at most: heori_wanted_consumers tells how "
        "many consumers that takes.",
    )
    deadlock: Deadlock = Field(
        default="raise",
        description="A wait for a lock that would never end raises DeadlockDetected (raise), is "
        "logged (warn), or is not looked for (off).",
    )

    _wrong: dict[str, str] = PrivateAttr(default_factory=dict)  # by setting, what is wrong with it

    if not TYPE_CHECKING:  # which knows the names that may be given, and that may be read

        def __init__(self, **given: Any) -> None:
            wrong: dict[str, str] = {}
            values = _of_environment() | given
            try:
                super().__init__(**values)
            except ValidationError as error:
                wrong = dict(_problem(each, given) for each in error.errors())
                if asked_for := [sentence for name, sentence in wrong.items() if name in given]:
                    raise InvalidSetting("; ".join(asked_for)) from None
                fields = type(self).model_fields
                defaults = {n: fields[n].get_default(call_default_factory=True) for n in wrong}
                super().__init__(**values | defaults)
                wrong |= {name: wrong[file] for name, file in _IN_FILES.items() if file in wrong}
                for name in wrong:  # it has no value; all others have theirs
                    del self.__dict__[name]
            self._wrong = wrong

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there."""
            if name in type(self).model_fields and name in self._wrong:
                raise InvalidSetting(self._wrong[name])
            return super().__getattr__(name)

    def check(self, names: Iterable[str]) -> None:
        """Be sure of these settings, before work begins that reads them.

        Where Kubernetes has taken the variable of one of them, that is logged.

        Raises:
            InvalidSetting: some do not fit; the message has a sentence for each.
        """
        unset = [variable_of(name) for name in names if name not in self.model_fields_set]
        if taken := [each for each in unset if _tells_of_a_service(os.environ.get(each))]:
            log.warning(
                "%s: ignored, as Kubernetes tells of a Service there; enableServiceLinks: false "
                "in the pod keeps such variables out",
                ", ".join(taken),
            )
        if wrong := [self._wrong[name] for name in names if name in self._wrong]:
            raise InvalidSetting("; ".join(dict.fromkeys(wrong)))

    @field_validator("redis_url")
    @classmethod
    def _well_formed(cls, url: str, others: ValidationInfo) -> str:
        where = Address.parse(url)  # a ValueError says what is wrong with it
        if (fault := unreadable(where.tls_files)) is not None:
            raise ValueError(fault)
        file: Path | None = others.data.get("redis_password_file")
        if file is None:
            return url
        return with_password_file(url, str(file.absolute()))

    @field_validator("api_tokens", "api_read_tokens")
    @classmethod
    def _with_those_of_the_file(
        cls, tokens: tuple[SecretStr, ...], others: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        file: Path | None = others.data.get(_IN_FILES[str(others.field_name)])
        return _long_enough(tokens) + (_tokens(file) if file is not None else ())


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return _OF_RQ.get(name, f"HEORI_{name.upper()}")


def _of_environment() -> dict[str, str]:
    """What the environment says, by the names of settings; `heori_lease` is as good there.

    What is empty is left out, and what an orchestrator has put there under the name of a setting.
    """
    told = {variable.upper(): value for variable, value in os.environ.items()}
    return {
        name: value
        for name in Settings.model_fields
        if (value := told.get(variable_of(name))) and not _tells_of_a_service(value)
    }


def _problem(told: ErrorDetails, given: dict[str, Any]) -> tuple[str, str]:
    """Which setting it is, and a sentence about it under the name by which its value has come."""
    name = str(told["loc"][0])
    fault = cut(str(told.get("ctx", {}).get("error", told["msg"])), 500)
    if told["type"] == "extra_forbidden":
        return name, f"{cut(name)}: there is no such setting"
    got = "" if name in _UNTOLD else f" (got {short(told['input'])})"
    return name, f"{name if name in given else variable_of(name)}: {fault}{got}"
