"""What to do: pure functions of (history, state, settings, now). No IO, no clock, no logging; ``now`` is an argument.

`decide` turns one `Situation` into one `Decision` and the `PolicyState` to remember; `step` makes the situation of a tick's `Inputs` and
of the `Memory` of those before. Same inputs, same bits out, live and in replay.
"""

from scaler.policy.decide import Situation, decide
from scaler.policy.history import History
from scaler.policy.state import PolicyState
from scaler.policy.step import Memory, step

__all__ = ["History", "Memory", "PolicyState", "Situation", "decide", "step"]
