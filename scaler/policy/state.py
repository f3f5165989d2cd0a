"""What the policy remembers from one tick to the next."""

from dataclasses import dataclass, field

from scaler.model import Bounds
from scaler.policy.calendar import Usual
from scaler.policy.fleet import Fleet
from scaler.policy.spike import Spikes


@dataclass(frozen=True, slots=True)
class PolicyState:
    """Memory of one endpoint's policy; monotonic seconds throughout. A fresh one is safe: it takes nothing away for a while.

    fleet:        replicas as tracked; None before the endpoint was first seen
    bounds:       last bounds seen at the provider, to stand in a decision while the provider is silent
    panic_until:  no way down before this moment
    needs:        (when, replicas needed) over the stabilization window, oldest first
    usual:        what the multipliers of planned events are multiplied with
    spikes:       loads above what ran, and how long they lasted
    called:       Unix second of the end of the window that an endpoint stopped by others was last started for
    """

    fleet: Fleet | None = None
    bounds: Bounds | None = None
    panic_until: float = float("-inf")
    needs: tuple[tuple[float, int], ...] = ()
    usual: tuple[Usual, ...] = ()
    called: float = float("-inf")
    spikes: Spikes = field(default_factory=Spikes)
