"""What an answer looks like: OpenAI's bodies and events for chat completions, completions and embeddings."""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any, Literal

from scaler.world.wire import dump

Kind = Literal["chat", "completion", "embedding"]

WORD = " tok"
"""Every generated token; four characters, as `prompts` counts them."""
DIMENSIONS = 8
"""Length of an embedding."""
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Heading:
    """What all parts of one answer have in common; ``created`` is in Unix seconds."""

    kind: Kind
    number: int
    created: int
    model: str

    def of(self, object_: str) -> dict[str, Any]:
        """The first fields of a body or an event."""
        prefix = "chatcmpl" if self.kind == "chat" else "cmpl"
        return {"id": f"{prefix}-{self.number:08x}", "object": object_, "created": self.created, "model": self.model}


def usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """Tokens in, out and together."""
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}


def whole(heading: Heading, input_tokens: int, output_tokens: int, finish_reason: str) -> bytes:
    """The body of an answer that is not streamed."""
    text = WORD * output_tokens
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
    if heading.kind == "chat":
        choice["message"] = {"role": "assistant", "content": text}
        body = heading.of("chat.completion")
    else:
        choice["text"] = text
        body = heading.of("text_completion")
    return dump(body | {"choices": [choice], "usage": usage(input_tokens, output_tokens)})


class Events:
    """The SSE events of one streamed answer, made of a head and a tail that never change."""

    def __init__(self, heading: Heading) -> None:
        """For this answer."""
        self._chat = heading.kind == "chat"
        head = heading.of("chat.completion.chunk" if self._chat else "text_completion")
        self._head = b"data: " + dump(head)[:-1] + b',"choices":[{"index":0,'
        self.opening = self._event({"role": "assistant", "content": ""}) if self._chat else b""

    def content(self, tokens: int, times: int = 1) -> bytes:
        """``times`` events of ``tokens`` tokens each."""
        text = WORD * tokens
        return self._event({"content": text} if self._chat else text) * times

    def closing(self, input_tokens: int, output_tokens: int, finish_reason: str) -> bytes:
        """The last event, with finish reason and usage, and the end mark."""
        tail = b',"usage":%b' % dump(usage(input_tokens, output_tokens))
        return self._event({} if self._chat else "", finish_reason, tail) + DONE

    def _event(self, delta: object, finish_reason: str | None = None, tail: bytes = b"") -> bytes:
        key = b'"delta":' if self._chat else b'"text":'
        return b'%b%b%b,"finish_reason":%b}]%b}\n\n' % (self._head, key, dump(delta), dump(finish_reason), tail)


def error_event(error: dict[str, Any]) -> bytes:
    """An error in the middle of a stream."""
    return b"data: " + dump(error) + b"\n\n"


def embeddings(model: str, inputs: list[object], encoding: object, input_tokens: int) -> bytes:
    """One vector per input, as base64 of float32 if ``encoding`` says so; equal inputs have equal vectors."""
    data = [{"object": "embedding", "index": index, "embedding": _embedding(text, encoding)} for index, text in enumerate(inputs)]
    return dump({"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": input_tokens, "total_tokens": input_tokens}})


def _embedding(text: object, encoding: object) -> str | list[float]:
    digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=2 * DIMENSIONS).digest()
    vector = [number / 2**15 for number in struct.unpack(f"<{DIMENSIONS}h", digest)]
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode() if encoding == "base64" else vector
