"""From the bytes that a client sends to complete requests, or to the refusal of what cannot be one.

Guarantees: a request is complete and has passed every check that needs no route; nothing is kept beyond its limit, and what cannot
become a request is refused as soon as that can be seen.
"""

from typing import Final

from scaler.proxy.bodies import Body, Sized, body_of
from scaler.proxy.context import Context, Phase
from scaler.proxy.errors import Refusal
from scaler.proxy.heads import MAX_KNOWN_BYTES, RequestHead, request_head
from scaler.proxy.http1 import REQUEST_LINE, HeadReader, TooLargeError
from scaler.proxy.keys import Account
from scaler.proxy.model_field import Body as Whole
from scaler.proxy.room import Share

OPERATIONS: Final = {b"/v1/" + name: "/" + name.decode() for name in (b"chat/completions", b"completions", b"embeddings")}
"""What is passed on: the client's path, and the path under the upstream's base."""
MODELS: Final = b"/v1/models"


class Request:
    """A request, complete unless it is being read."""

    def __init__(self, head: RequestHead, body: Whole, account: Account | None) -> None:
        """``account``: whose it is, where clients need keys."""
        self.head = head
        self.body = body
        self.account = account


class RequestReader:
    """Of one connection."""

    def __init__(self, context: Context, share: Share) -> None:
        """``share``: where the bytes of bodies are counted."""
        settings = context.settings
        self._context = context
        self._share = share
        self._max_head = settings.max_head_bytes
        self._max_url = settings.max_url_bytes
        self._max_body = settings.max_body_bytes
        self._heads = HeadReader(REQUEST_LINE, settings.max_head_bytes)
        self._last: RequestHead | None = None  # most clients say the same again, but for the length
        self._request: Request | None = None  # whose body is being read
        self._body: Body = Sized(0)
        self.expectant = False
        """Whether a client has just said that it waits for a leave to send the body."""
        self.bodiless = False
        """Whether the newest request is a HEAD."""

    @property
    def phase(self) -> Phase:
        """What is awaited: a request, the rest of its head, or that of its body."""
        if self._request is not None:
            return "body"
        return "header" if self._heads.seen else "idle"

    @property
    def held(self) -> int:
        """Bytes of the body that is being read."""
        return len(self._request.body) if self._request is not None else 0

    def drop(self) -> None:
        """Forget the request that is being read."""
        self._request = None

    def feed(self, data: bytes) -> tuple[Request | None, bytes]:
        """The request that is complete now, if one is, and what was not looked at. Raises what `refusal_of` understands."""
        if self._request is not None:
            return self._read_body(self._request, data)
        self.bodiless = False
        again = self._last.again(data, self._max_head) if self._last is not None and not self._heads.seen else None
        if again is not None:
            head, length, rest = again
        else:
            found = self._heads.feed(data)
            if found is None:
                self._check_url(self._heads.second_word)
                return None, b""
            raw, rest = found
            self.bodiless = raw.startswith(b"HEAD ")
            head, length = request_head(raw)
            self._check_url(head.target)
            self._last = head if len(raw) <= MAX_KNOWN_BYTES else None
        account = self._context.keys.find(head.authorization) if self._context.keys is not None else None
        if head.method != b"POST" or head.path not in OPERATIONS:
            _check_operation(head)
        self._check_room(length, length)
        if len(rest) >= length and head.framing != "chunked":  # as it is mostly
            self._share.take(length)
            return Request(head, rest[:length], account), rest[length:]
        self._request = Request(head, bytearray(), account)
        self._body = body_of(head.framing, length, self._max_head)
        self.expectant = head.expects_continue
        return None, rest

    def _read_body(self, request: Request, data: bytes) -> tuple[Request | None, bytes]:
        self.expectant = False
        body = self._body
        piece = body.feed(data)
        self._check_room(len(request.body) + len(piece), len(piece))
        self._share.take(len(piece))
        request.body += piece
        if body.fault is not None:
            raise body.fault
        if not body.complete:
            return None, b""
        self._request = None
        return request, body.excess

    def _check_url(self, target: bytes) -> None:
        if len(target) > self._max_url:
            raise Refusal("url_too_long", f"The request's target has more than {self._max_url} bytes.")

    def _check_room(self, length: int, more: int) -> None:
        """Whether a body may have this length, and so much more may be held."""
        if length > self._max_body:
            raise Refusal("body_too_large", f"The request's body has more than {self._max_body} bytes.")
        if not self._share.has_room(more):
            raise Refusal("overloaded", "Too much is being sent at this moment.", retry_after=1)


def refusal_of(fault: Exception) -> Refusal:
    """What to say to a client whose request cannot be read."""
    if isinstance(fault, Refusal):
        return fault
    if isinstance(fault, TooLargeError):
        return Refusal("head_too_large", f"The request has {fault}.")
    return Refusal("invalid_request", f"The request is not HTTP/1.1: {fault}.")


def _check_operation(head: RequestHead) -> None:
    """Whether there is such a path and method; raises `Refusal`."""
    methods = ("POST",) if head.path in OPERATIONS else ("GET", "HEAD") if head.path == MODELS else ()
    method = head.method.decode()
    if not methods:
        raise Refusal("unknown_url", f"Unknown request URL: {method} {head.path[:200].decode(errors='replace')}.")
    if method not in methods:
        raise Refusal("method_not_allowed", f"Not allowed here: {method}.", allow=", ".join(methods))
