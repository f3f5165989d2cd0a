"""One bounded HTTP call that speaks JSON; the only module that knows httpx.

Guarantees: a total deadline, a reply of at most `MAX_REPLY_BYTES`, no redirect followed, no proxy taken from the environment, one request
per call (no retries), every fault one of the errors of `base`, and the key in none of them.
"""

import asyncio
import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr
from pydantic_core import from_json

from scaler.providers.base import BadProviderSettings, BadReply, NotFound, OutcomeUnknown, ProviderError, RateLimited, Refused, Unreachable

MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_COMPLAINT_BYTES = 64 * 1024
MAX_COMPLAINT_CHARS = 300
KEEPALIVE_SECONDS = 30.0
MAX_CONNECTIONS = 100
CONNECT_SHARE = 0.45
"""Of a call's deadline, each for TCP and TLS; together less than all of it, since httpcore cleans up after its own timeouts only."""
PORTS = range(1, 65536)
SENDING = "http11.send_request_headers.started"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer, not yet judged."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Redactor:
    """Makes text from outside safe to print."""

    def __init__(self, secret: str) -> None:
        """Knows ``secret`` plain, percent-encoded, in base64, and by its first twelve characters."""
        forms = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), secret[:12]}
        self._forms = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))

    def clean(self, text: str) -> str:
        """One printable line of at most `MAX_COMPLAINT_CHARS` characters, without the secret."""
        redacted = self._forms.sub("[key]", text)
        printable = "".join(char if char.isprintable() else " " for char in redacted)
        return " ".join(printable.split())[:MAX_COMPLAINT_CHARS]


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait as the Retry-After header says (seconds or an HTTP date), 0 to `MAX_RETRY_AFTER_SECONDS`.

    A date counts from the reply's own Date, so that a wrong clock here does no harm; without one, from ``now`` (Unix seconds).
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    until = _http_date(value)
    if until is None:
        return None
    since = _http_date(headers.get("date", ""))
    return min(max(0.0, until - (now if since is None else since)), MAX_RETRY_AFTER_SECONDS)


def _http_date(value: str) -> float | None:
    """Unix seconds, or None for anything that is not a date with a time zone."""
    try:
        date = parsedate_to_datetime(value[:100])
        return date.timestamp() if date.tzinfo else None
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def judge(reply: Reply, redactor: Redactor, call: str, now: float) -> object:
    """The JSON of a 200, or the error that any other answer is. ``call`` names it in messages, ``now`` is in Unix seconds."""
    if reply.status == httpx.codes.OK:
        try:
            return from_json(reply.content, allow_inf_nan=False, cache_strings="none")
        except ValueError as error:
            raise BadReply(f"{call}: not JSON: {redactor.clean(str(error))}") from None
    code, complaint = _complaint(reply.content)
    code = redactor.clean(code) if code else None
    said = redactor.clean(" ".join(part for part in (code, complaint) if part))
    message = f"{call}: {reply.status}{': ' if said else ''}{said}"
    wait = retry_after(reply.headers, now)
    if httpx.codes.is_client_error(reply.status):
        kind = {404: NotFound, 429: RateLimited}.get(reply.status, Refused)
        raise kind(message, status=reply.status, code=code, retry_after=wait)
    if httpx.codes.is_server_error(reply.status):
        raise OutcomeUnknown(message, retry_after=wait)
    raise BadReply(message, retry_after=wait)


def _complaint(content: bytes) -> tuple[str | None, str]:
    """Code and message of ``{"error": {"code", "message"}}``; of anything else, the beginning of its text."""
    head = content[:MAX_COMPLAINT_BYTES]
    try:
        body: Any = from_json(head, allow_inf_nan=False)
        error = body["error"]
        code, message = error.get("code"), error["message"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, head.decode(errors="replace")
    return (code if isinstance(code, str) else None), str(message)


def require_callable(base_url: str, key: SecretStr) -> None:
    """Raise `BadProviderSettings` now for what would otherwise fail on every call: the address, or a key that cannot stand in a header."""
    try:
        url = httpx.URL(base_url)
        host, port = url.host, url.port
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadProviderSettings(f"provider.base_url: {error}") from None
    if not host or (port is not None and port not in PORTS):
        raise BadProviderSettings(f"provider.base_url: no such host or port: {base_url}")
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise BadProviderSettings("provider.api_key: expected printable ASCII without spaces")


class JsonClient:
    """Calls one base URL with one key."""

    def __init__(self, base_url: str, key: SecretStr, timeout_seconds: float, *, reuse_connections: bool = True) -> None:
        """``timeout_seconds`` bounds a whole call, in real seconds.

        Without ``reuse_connections`` each call has its own: one that went stale in a pool fails only once the request is on it, and
        then nobody knows what became of the request. Raises `BadProviderSettings` for a URL that cannot be called and for a key
        that cannot stand in a header.
        """
        require_callable(base_url, key)
        secret = key.get_secret_value()
        self._base = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._redactor = Redactor(secret)
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {secret}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "scaler",
            },
            timeout=httpx.Timeout(timeout_seconds, connect=timeout_seconds * CONNECT_SHARE),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS if reuse_connections else 0,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        )

    async def call(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None) -> object:
        """Send one request and return the JSON of its answer, None for a DELETE that says no more than 204; raises `ProviderError`."""
        sending = asyncio.Event()

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            if event == SENDING:
                sending.set()

        call = f"{method} {path}"
        request = self._client.build_request(method, self._base + path, params=query, json=body, extensions={"trace": trace})
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._exchange(request, call)
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            raise self._lost(call, error, sent=sending.is_set()) from None
        if method == "DELETE" and reply.status == httpx.codes.NO_CONTENT:
            return None
        return judge(reply, self._redactor, call, time.time())

    async def _exchange(self, request: httpx.Request, call: str) -> Reply:
        """The whole answer, or `BadReply` once it is too large."""
        response = await self._client.send(request, stream=True)
        content = bytearray()
        try:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise BadReply(f"{call}: {response.status_code} with more than {MAX_REPLY_BYTES} bytes")
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, bytes(content))

    def _lost(self, call: str, error: Exception, *, sent: bool) -> ProviderError:
        """What a call without an answer is; the words of ``error`` are not repeated, they may quote the request."""
        if not sent:
            return Unreachable(f"{call}: no connection ({type(error).__name__})")
        late = isinstance(error, TimeoutError | httpx.TimeoutException)
        what = f"within {self._timeout:g} s" if late else f"({type(error).__name__})"
        return OutcomeUnknown(f"{call}: sent, but no complete answer {what}")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
