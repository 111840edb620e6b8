"""Every setting, and the only place that reads the environment."""

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
from heori_common.protocol.commands import MOST_WAITING
from heori_common.public import public
from heori_common.redis.address import Address, with_password

Model = Literal["threads", "processes", "hybrid", "asyncio", "inline"]
Serializer = Literal["json", "pickle"]
MIN_TOKEN_CHARS = 16
Deadlock = Literal["raise", "warn", "off"]


def _split(value: object) -> object:
    """A list in an environment variable is written with commas: ``a,b``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _end_at_dot(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """``myapp`` means ``myapp.``: it must not let ``myapp_evil`` in."""
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
        description="A file with the password of the server and its sentinels, as a container "
        "gets it; for what the URL leaves out.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validate_default=True,
        description="The Redis or Valkey server, or the sentinels that know it.",
        repr=False,
    )
    key_prefix: str = Field(
        default="rq",
        validation_alias="RQ_KEY_PREFIX",
        pattern=r"^[A-Za-z0-9_.:{}-]+$",
        description="What all keys begin with; RQ reads the same variable.",
    )
    tasks: Names = Field(default=(), description="Modules to import that register tasks.")
    allow: Annotated[Names, AfterValidator(_end_at_dot)] = Field(
        default=(), description="Prefixes under which unregistered functions may be imported."
    )
    accept: Annotated[tuple[Serializer, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=("json",), description="Serializers whose payloads are decoded: json, pickle."
    )
    middleware: Names = Field(
        default=(), description="Classes of middleware to run around each job."
    )
    lease: float = Field(
        default=30.0,
        ge=1.0,
        allow_inf_nan=False,
        description="Seconds until the jobs of a lost machine are reclaimed.",
    )
    max_deliveries: int = Field(
        default=3, ge=1, description="After how many deliveries a job becomes a dead letter."
    )
    max_payload: int = Field(
        default=1_000_000, ge=1, description="Largest payload or result, in bytes, inflated."
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of /metrics and /healthz; 0: any free one."
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address that /metrics and /healthz listen on."
    )
    queue_limits: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=MOST_WAITING)]], NoDecode, BeforeValidator(_limits)
    ] = Field(
        default_factory=dict,
        description="How many jobs may wait in a queue; written to Redis by each producer once.",
    )
    when_full: Literal["block", "reject", "drop_oldest"] = Field(
        default="block", description="What a producer does at a queue's limit."
    )
    full_timeout: float | None = Field(
        default=None,
        ge=0.0,
        allow_inf_nan=False,
        description="Seconds to wait for room at most; without one, as long as it takes.",
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
        description="What callers of `heori serve` name, any of them.",
    )
    api_host: str = Field(default="127.0.0.1", description="Address that `heori serve` listens on.")
    api_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of `heori serve`; 0: any free one."
    )
    api_max_body: int = Field(
        default=10_000_000, ge=1, description="Largest body of a request, in bytes."
    )
    gil_source: Literal["external", "internal", "estimate"] = Field(
        default="external",
        description="How threads' states are found at best; the next where that does not work.",
    )
    grace: float = Field(
        default=25.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Seconds that running jobs get to finish on SIGTERM.",
    )

    deadlock: Deadlock = Field(
        default="raise", description="What becomes of a wait for a lock that would never end."
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
        Address.parse(url)  # a ValueError says what is wrong with it
        file: Path | None = others.data.get("redis_password_file")
        if file is None:
            return url
        return with_password(url, _secret("HEORI_REDIS_PASSWORD_FILE", file))

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
