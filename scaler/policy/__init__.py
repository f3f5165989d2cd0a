"""What to do: pure functions of (history, state, settings, now). No IO, no clock, no logging; ``now`` is an argument.

`decide` turns one `Situation` into one `Decision` and the `PolicyState` to remember. Same inputs, same bits out, live and in replay.
"""

from scaler.policy.decide import Situation, decide
from scaler.policy.history import History
from scaler.policy.state import PolicyState

__all__ = ["History", "PolicyState", "Situation", "decide"]
