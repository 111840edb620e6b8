"""How logs look: for people on a terminal, as JSON for everything else; on standard error."""

import logging
import sys

import structlog


def configure(*, as_json: bool) -> None:
    """Set up structlog for this process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=as_json),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # One write per line, unbuffered too: the processes of a consumer share the pipe.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
