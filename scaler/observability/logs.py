"""Structured logs: JSON lines, or columns on a terminal; structlog and the standard library through one pipeline.

Guarantees: whatever is logged, a line of JSON is valid, printable ASCII and at most `MAX_LINE_BYTES` long. The secrets given to `configure`
do not appear: not plain, not in base64 or percent-encoding, not their first `PREFIX` characters. Neither do values named like a
secret, nor what follows ``Bearer`` in a text. Not guaranteed: to recognise a secret in any other encoding.
"""

import base64
import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from scaler.settings import LogSettings

MAX_LINE_BYTES = 8 * 1024
MAX_DEPTH = 6
MAX_ITEMS = 100
MAX_INTEGER = 2**64
PREFIX = 12
MASK = "**********"
SECRET_NAMES = frozenset(
    {"authorization", "proxy_authorization", "api_key", "apikey", "x_api_key", "token", "password", "secret", "cookie", "set_cookie"}
)
QUIET_LIBRARIES = {"apscheduler": logging.ERROR, "httpcore": logging.WARNING, "httpx": logging.WARNING, "uvicorn": logging.WARNING}
"""Each request and each run of a job is news to their authors only; late and overlapping ticks are counted by `scheduler`."""
_CREDENTIAL = re.compile(r"""(?i)\b(bearer\s+|token=|(?:api[_-]?key|authorization)["']?\s*[:=]\s*["']?(?:bearer\s+)?)[^\s&"',;)}\]]+""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_FIRST = ("timestamp", "level", "logger", "event")


def configure(settings: LogSettings, secrets: Iterable[SecretStr] = (), *, stream: TextIO | None = None) -> None:
    """Route everything that structlog and `logging` are told to ``stream`` (default: standard error), from ``settings.level`` on.

    ``secrets`` never appear in what is written. Calling again replaces what was configured before.
    """
    stream = stream or sys.stderr
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                Scrubber(secrets),
                *_renderers(stream, console=console),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for name, least in QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else max(level, least))
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _renderers(stream: TextIO, *, console: bool) -> list[Processor]:
    if not console:
        return [render_json]
    colours = stream.isatty()
    return [escape_controls, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]


class Scrubber:
    """A structlog processor: plain, bounded values without secrets.

    Every value becomes a string, number, boolean, None, list or mapping of these, at most `MAX_DEPTH` deep and `MAX_ITEMS` wide.
    """

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        """Prepare one pattern for all of ``secrets``; empty ones are nothing to hide."""
        plain = [secret.get_secret_value() for secret in secrets]
        forms = sorted({form for secret in plain if secret for form in _forms(secret)}, key=len, reverse=True)
        self._secret = re.compile("|".join(_form_pattern(form) for form in forms)) if forms else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The event without secrets."""
        return self._mapping(event, MAX_DEPTH)

    def _mapping(self, values: Mapping[Any, object], depth: int) -> dict[str, object]:
        shown = list(values.items())[:MAX_ITEMS]
        return {self._text(str(key)): MASK if _is_secret_name(key) else self._value(value, depth - 1) for key, value in shown}

    def _value(self, value: object, depth: int) -> object:
        if value is None or (isinstance(value, int) and abs(value) <= MAX_INTEGER):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Mapping) and depth > 0:
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset) and depth > 0:
            return [self._value(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
        return self._text(value if isinstance(value, str) else _describe(value))

    def _text(self, text: str) -> str:
        text = _CREDENTIAL.sub(rf"\1{MASK}", text)
        if self._secret is not None:
            text = self._secret.sub(MASK, text)
        return _cut(text, MAX_LINE_BYTES)


def _describe(value: object) -> str:
    """Its repr, or its type where even that fails: a log call must not raise."""
    if isinstance(value, int):
        return hex(value)  # the decimal form of a huge number is refused by Python
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 (foreign code)
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _is_secret_name(key: object) -> bool:
    return str(key).lower().replace("-", "_") in SECRET_NAMES


def _forms(secret: str) -> set[str]:
    """How a secret may be written: plain, percent-encoded, as repr, in base64 (alone, or inside something longer)."""
    forms = {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    raw = secret.encode()
    for offset in range(3 if len(raw) >= PREFIX else 0):
        # Behind `offset` foreign bytes, the first characters mix with those and the last ones with what follows: leave both out.
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        inner = encoded[offset and offset + 1 : (offset + len(raw)) * 8 // 6]
        forms |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return forms


def _form_pattern(form: str) -> str:
    """The form itself, or its beginning with whatever is stuck to it: a key that was cut short still opens nothing, but is ours."""
    if len(form) <= PREFIX:
        return re.escape(form)
    return rf"{re.escape(form)}|{re.escape(form[:PREFIX])}[\w.~+/=%-]*"


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters: the beginning and the end, for that is where a traceback says where and what."""
    if len(text) <= limit:
        return text
    mark = f" ...[{len(text) - limit} more]... "
    half = max(0, limit - len(mark)) // 2
    return (text[:half] + mark + text[len(text) - half :])[:limit]


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """One line of JSON, at most `MAX_LINE_BYTES` with its line end; what is too long loses its longest values' middles first."""
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    line = _dumps(ordered)
    share = MAX_LINE_BYTES
    while len(line) >= MAX_LINE_BYTES and share > 1:
        share //= 2
        ordered = {key[:share]: _shorter(value, share) for key, value in list(ordered.items())[:MAX_ITEMS]}
        line = _dumps(ordered)
    return line


def _shorter(value: object, limit: int) -> object:
    """A value whose JSON is no longer than ``limit`` characters, itself if it is short."""
    if len(_dumps(value)) <= limit:
        return value
    return _cut(value if isinstance(value, str) else _dumps(value), limit)


def _dumps(value: object) -> str:
    """ASCII only: JSON escapes every control and line separator but DEL."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What a terminal would obey becomes visible text; tracebacks keep their lines."""
    visible: EventDict = {}
    for key, value in event.items():
        pattern = _CONTROL_BUT_LINES if key == "exception" else _CONTROL
        visible[_visible(_CONTROL, key)] = _visible(pattern, value) if isinstance(value, str) else value
    return visible


def _visible(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: ascii(found[0])[1:-1], text)
