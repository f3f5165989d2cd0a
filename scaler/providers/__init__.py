"""Update APIs behind one protocol. This package opens readers; what changes something is opened by the actuator alone."""

from scaler.providers.base import Reader, require_built
from scaler.providers.http import JsonClient
from scaler.providers.together_v1 import TogetherV1Reader
from scaler.settings import ProviderSettings


def open_reader(settings: ProviderSettings) -> Reader:
    """The reader that the settings ask for; `BadProviderSettings` if it cannot be."""
    require_built(settings)
    return TogetherV1Reader(JsonClient(settings.base_url, settings.key, settings.timeout_seconds))
