"""What a request asks for: model, tokens in and out, streamed or not."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaler.world.answers import Kind
from scaler.world.refusals import Invalid

CHARACTERS_PER_TOKEN = 4
DEFAULT_OUTPUT_TOKENS = 128
"""Length of an answer when nobody says how long it is."""
MAX_TOKENS = 1_000_000
"""Most tokens in or out of one request."""
INPUT_HEADER = b"x-world-input-tokens"
OUTPUT_HEADER = b"x-world-output-tokens"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request in the world's terms.

    ``finish_reason`` is how the answer will end; equal texts have equal keys, and one whose length is only claimed has none.
    """

    model: str
    input_tokens: int
    output_tokens: int
    streamed: bool
    finish_reason: str
    key: bytes | None = None


def read_prompt(kind: Kind, body: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Prompt:
    """Read a request. The two headers, if given, say exact lengths; the caller's limit cuts the answer. Raises `Invalid`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Invalid("Missing required parameter: 'model'")
    claimed = _header(headers, INPUT_HEADER)
    try:
        input_tokens = claimed or _tokens_in(kind, body)
        key = None if claimed else _key(kind, body)
    except RecursionError as error:
        raise Invalid("The request is nested too deeply") from error
    if input_tokens > MAX_TOKENS:
        raise Invalid(f"The request has {input_tokens} input tokens, the limit is {MAX_TOKENS}")
    if kind == "embedding":
        return Prompt(model, input_tokens, 0, streamed=False, finish_reason="stop")
    wanted = _header(headers, OUTPUT_HEADER) or DEFAULT_OUTPUT_TOKENS
    limit = _limit(body)
    return Prompt(
        model,
        input_tokens,
        min(wanted, limit),
        streamed=_streamed(body),
        finish_reason="length" if limit < wanted else "stop",
        key=key,
    )


def embedding_inputs(body: Mapping[str, Any]) -> list[object]:
    """The texts (or token lists) to embed. Raises `Invalid`."""
    given = body.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    if isinstance(given, str | list) and given:
        return [given]
    raise Invalid("Missing required parameter: 'input'")


def _key(kind: Kind, body: Mapping[str, Any]) -> bytes | None:
    """The same for the same text; embeddings have no prefill worth keeping."""
    if kind == "embedding":
        return None
    text = body["messages" if kind == "chat" else "prompt"]
    return hashlib.blake2b(json.dumps(text).encode(), digest_size=16).digest()


def _header(headers: Mapping[bytes, bytes], name: bytes) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not value.isdigit() or not 1 <= int(value[:10]) <= MAX_TOKENS:
        raise Invalid(f"Header {name.decode()}: expected a whole number from 1 to {MAX_TOKENS}")
    return int(value[:10])


def _limit(body: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise Invalid(f"Invalid '{name}': expected a positive integer")
        return value
    return MAX_TOKENS


def _streamed(body: Mapping[str, Any]) -> bool:
    value = body.get("stream")
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Invalid("Invalid 'stream': expected a boolean")


def _tokens_in(kind: Kind, body: Mapping[str, Any]) -> int:
    """Estimated from the length of the text."""
    if kind == "embedding":
        return sum(_tokens_of(text) for text in embedding_inputs(body))
    if kind == "completion":
        if "prompt" not in body:
            raise Invalid("Missing required parameter: 'prompt'")
        return _tokens_of(body["prompt"])
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Invalid("Missing required parameter: 'messages'")
    return sum(_tokens_of(message.get("content")) for message in messages if isinstance(message, dict)) or 1


def _tokens_of(content: object) -> int:
    """A text, a list of texts, of tokens, or of typed parts."""
    if isinstance(content, str):
        return max(1, len(content) // CHARACTERS_PER_TOKEN)
    if isinstance(content, list):
        return sum(1 if isinstance(part, int) else _tokens_of(part) for part in content)
    if isinstance(content, dict):
        return _tokens_of(content.get("text"))
    return 0
