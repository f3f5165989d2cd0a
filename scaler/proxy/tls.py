"""TLS towards an upstream, in the same turn of the loop in which bytes come or go.

The event loop's own TLS asks for more after every record, and an exception tells it that there is none; for a streamed chunk that costs
more than its decryption. Here only what has come is read. The records, and whom to trust, are the standard library's (OpenSSL).
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

RECORD_BYTES: Final = 16 * 1024
"""Most that one record carries (RFC 8446, 5.1)."""


async def connect(protocol: asyncio.Protocol, context: ssl.SSLContext, host: str, port: int) -> Callable[[bytes | bytearray], None]:
    """Connect ``protocol`` to a host that proves its name.

    Returns what encrypts and sends; the transport that ``protocol`` is given is for everything else. Raises OSError (ssl.SSLError is one).
    """
    layer = TlsLayer(protocol, context, host)
    transport: asyncio.Transport | None = None
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: layer, host, port)
        await layer.verified
    except BaseException:
        layer.verified.cancel()  # nobody waits for it any more
        if transport is not None:
            transport.abort()
        raise
    return layer.write


class TlsLayer(asyncio.Protocol):
    """Between a TCP connection and the protocol above."""

    def __init__(self, above: asyncio.Protocol, context: ssl.SSLContext, host: str) -> None:
        """``host``: whom the certificate must name."""
        self._above, self._open = above, False
        self._transport: asyncio.Transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._tls = getattr(tls, "_sslobj", tls)  # what its own methods hand on to, in Python
        self.verified: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the host has proven its name; raises OSError if it has not."""
        self._in_part = True  # a record may have come in part, and what has come of it be in OpenSSL

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Pass on what can be read, in one piece."""
        self._incoming.write(data)
        if not self._open:
            self._shake_hands()
            if not self._open:
                return
        plain = record = self._read()
        if record and self._incoming.pending:
            pieces = [record]
            while self._incoming.pending and (record := self._read()):
                pieces.append(record)
            plain = b"".join(pieces)
        if plain:
            self._above.data_received(plain)
        if record == b"":
            self._above.eof_received()
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone. An end that TLS did not announce may be anyone's, and what it cuts off is not complete."""
        if self._open:
            self._above.connection_lost(exc or ConnectionResetError("the end was not announced"))
        elif not self.verified.done():
            self.verified.set_exception(exc or ConnectionResetError("closed before it had proven its name"))

    def write(self, data: bytes | bytearray) -> None:
        """Encrypt and send, after what TLS itself has to say (an answer to new keys)."""
        self._tls.write(data)
        self._transport.write(self._outgoing.read())

    def _read(self) -> bytes | None:
        """A record; empty: the end, announced; None: the rest has not come yet, or it was no record of theirs, and all is over."""
        try:
            # Room for as much as there can be: a small record in the room of a large one would be moved.
            record = self._tls.read(RECORD_BYTES if self._in_part else min(RECORD_BYTES, self._incoming.pending))
            self._in_part = False
            return cast("bytes", record)
        except ssl.SSLWantReadError:
            self._in_part = True
            return None
        except ssl.SSLError:
            self._transport.abort()
            return None

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if not self.verified.done():
                self.verified.set_exception(error)
        else:
            self._open = True
            self._above.connection_made(self._transport)
            if not self.verified.done():
                self.verified.set_result(None)
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())
