"""Update APIs behind one protocol. This package opens readers; what changes something is opened by the actuator alone."""

from scaler.providers.base import Reader
from scaler.providers.http import JsonClient
from scaler.providers.probe import AutoReader
from scaler.providers.together_v1 import TogetherV1Reader
from scaler.providers.together_v2 import TogetherV2Reader
from scaler.settings import ProviderSettings


def open_reader(settings: ProviderSettings, example: str | None = None) -> Reader:
    """The reader that the settings ask for; `BadProviderSettings` if it cannot be. ``example``: an id of ours, where the kind is auto."""
    match settings.kind:
        case "together_v1":
            return TogetherV1Reader(JsonClient(settings.v1_url, settings.key, settings.timeout_seconds))
        case "together_v2":
            return TogetherV2Reader(JsonClient(settings.root, settings.key, settings.timeout_seconds), settings.project)
        case "auto":
            return AutoReader(settings, example)


def describe(reader: Reader, settings: ProviderSettings) -> dict[str, str]:
    """Which generation of the API is spoken, and why; for the status page."""
    if not isinstance(reader, AutoReader):
        return {"kind": settings.kind, "why": "configured"}
    if reader.found is None:
        return {"kind": "unknown", "why": reader.trouble}
    return {"kind": reader.found.kind, "why": reader.found.why}
