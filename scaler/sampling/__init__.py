"""Where demand is read. A source says what it saw since it was last asked, or that it does not know, and why."""

from typing import Protocol

from scaler.model import Observation, Sample


class Source(Protocol):
    """The traffic of one endpoint."""

    def sample(self) -> Observation[Sample]:
        """Traffic since the last call. Never raises for lack of data: that is an Unknown."""
