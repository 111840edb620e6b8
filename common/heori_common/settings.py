"""Every setting, and the only place that reads the environment."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from heori_common.names import check_queue
from heori_common.protocol.commands import MOST_WAITING, UNKNOWN_WAIT_S
from heori_common.public import public
from heori_common.redis.address import Address, with_password_file
from heori_common.redis.tls_files import unreadable

Model = Literal["threads", "processes", "hybrid", "asyncio", "inline"]
Serializer = Literal["json", "pickle"]
MIN_TOKEN_CHARS = 16
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Deadlock = Literal["raise", "warn", "off"]


def _split(value: object) -> object:
    """A list in an environment variable is written with commas: ``a,b``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _end_at_dot(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """``myapp`` means ``myapp.``: it must not let ``myapp_evil`` in."""
    for prefix in prefixes:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", prefix):  # it would let nothing in, silently
            raise ValueError(f"{prefix!r} is no beginning of names, such as myapp.jobs.")
    return tuple(prefix if prefix.endswith(".") else prefix + "." for prefix in prefixes)


def _limits(value: object) -> object:
    """Numbers by name in an environment variable: ``a=100,b=200``."""
    if not isinstance(value, str):
        return value
    limits = {}
    for part in value.split(","):
        if part.strip():
            name, equals, number = part.partition("=")
            if not equals or not number.strip().isdecimal():
                raise ValueError(f"{part.strip()!r}: QUEUE=JOBS is needed, such as orders=10000")
            limits[check_queue(name.strip())] = int(number)
    return limits


def _secret(variable: str, file: Path) -> str:
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable} cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{variable}: {file} is empty")
    return secret


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


@public
class Settings(BaseSettings):
    """Read from ``HEORI_*`` environment variables; the command line overrides some.

    Raises:
        pydantic.ValidationError: a variable has a value that does not fit.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEORI_",
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        hide_input_in_errors=True,  # a URL may hold a password
    )

    redis_password_file: Path | None = Field(
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
        validation_alias="RQ_KEY_PREFIX",
        pattern=r"^[A-Za-z0-9_.:{}-]+$",
        description="The beginning of all keys in Redis. RQ reads the same variable.",
    )
    tasks: Names = Field(
        default=(), description="Modules to import. Their functions with @task may run."
    )
    allow: Annotated[Names, AfterValidator(_end_at_dot)] = Field(
        default=(),
        description="Prefixes of other functions that may run: `myapp.` lets in all below `myapp`.",
    )
    accept: Annotated[tuple[Serializer, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=("json",),
        description="Serializers whose payloads are read. rq pickles by default; unpickling runs "
        "any code that the sender likes.",
    )
    middleware: Names = Field(
        default=(), description="Classes of middleware that run around each job."
    )
    lease: float = Field(
        default=30.0,
        ge=1.0,
        allow_inf_nan=False,
        description="Seconds until the jobs of a consumer that has died are reclaimed.",
    )
    max_deliveries: int = Field(
        default=3,
        ge=1,
        description="Deliveries after which a job that has come to no end becomes a dead letter.",
    )
    unknown_wait: float = Field(
        default=UNKNOWN_WAIT_S,
        ge=0.0,
        allow_inf_nan=False,
        description="Seconds for which a job waits whose function is missing in the code of all "
        "consumers of its queue; then it fails. 0 fails it at the first consumer that does not "
        "have it.",
    )
    max_payload: int = Field(
        default=1_000_000,
        ge=1,
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
        description="Port of /metrics and /healthz. 0 takes any free one, which is told at the "
        "start.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address that /metrics and /healthz listen on."
    )
    queue_limits: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=MOST_WAITING)]], NoDecode, BeforeValidator(_limits)
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
        allow_inf_nan=False,
        description="Seconds to wait for room at most. Without it, a producer waits as long as it "
        "takes.",
    )
    key_ttl: int = Field(
        default=24 * 3600, ge=1, description="Seconds for which an idempotency key holds."
    )
    api_tokens_file: Path | None = Field(
        default=None, description="A file with further tokens, one on each line."
    )
    api_tokens: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(),
        validate_default=True,
        description="Tokens that callers of `heori serve` may name, each of 16 characters at "
        "least. Without any, it listens to this machine only.",
    )
    api_host: str = Field(
        default="127.0.0.1",
        description="Address that `heori serve` listens on. Beyond this machine it needs tokens.",
    )
    api_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of `heori serve`. 0 takes any free one."
    )
    api_max_body: int = Field(
        default=10_000_000, ge=1, description="Bytes of a request to `heori serve`, at most."
    )
    gil_source: Literal["external", "internal", "estimate"] = Field(
        default="external",
        description="How the states of threads are found. Where that does not work, the next of "
        "these is used.",
    )
    grace: float = Field(
        default=25.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Seconds that running jobs get to finish on SIGTERM.",
    )

    lend_slots: int = Field(
        default=64,
        ge=0,
        le=1000,
        description="Slots that a worker adds at most while its jobs wait for other jobs.",
    )
    deadlock: Deadlock = Field(
        default="raise",
        description="A wait for a lock that would never end raises DeadlockDetected (raise), is "
        "logged (warn), or is not looked for (off).",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_before_variable(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Given both, the name wins; pydantic-settings has seen to that only since 2.13."""
        if "key_prefix" in values:
            values.pop("RQ_KEY_PREFIX", None)
        return values

    @field_validator("redis_url")
    @classmethod
    def _well_formed(cls, url: str, others: ValidationInfo) -> str:
        where = Address.parse(url)  # a ValueError says what is wrong with it
        if (fault := unreadable(where.tls_files)) is not None:
            raise ValueError(fault)
        file: Path | None = others.data.get("redis_password_file")
        if file is None:
            return url
        _secret("HEORI_REDIS_PASSWORD_FILE", file)  # it is read again for each connection
        return with_password_file(url, str(file.absolute()))

    @field_validator("api_tokens")
    @classmethod
    def _long_enough(
        cls, tokens: tuple[SecretStr, ...], others: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        file: Path | None = others.data.get("api_tokens_file")
        if file is not None:
            lines = _secret("HEORI_API_TOKENS_FILE", file).splitlines()
            tokens += tuple(SecretStr(line.strip()) for line in lines if line.strip())
        if any(len(token.get_secret_value()) < MIN_TOKEN_CHARS for token in tokens):
            raise ValueError(f"a token needs {MIN_TOKEN_CHARS} characters at least")
        return tokens
