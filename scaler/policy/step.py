"""One tick of the policy as a fold: inputs and memory in, a decision and memory out.

The controller goes step by step live, a backtest in virtual time, a replay over the journal: the same inputs and memory give the same bits.
"""

from dataclasses import dataclass, field, replace

from scaler.model import Decision, Inputs, Reason, ReasonCode
from scaler.policy.decide import Situation, decide
from scaler.policy.history import History
from scaler.policy.learned import Learned, apply, observe
from scaler.policy.outlook import Foresight, Outlook
from scaler.policy.state import PolicyState
from scaler.settings import EndpointSettings


@dataclass(frozen=True, slots=True)
class Memory:
    """All that the policy of one endpoint remembers from one tick to the next. A fresh one is safe."""

    history: History = field(default_factory=History)
    state: PolicyState = field(default_factory=PolicyState)
    learned: Learned = field(default_factory=Learned)
    outlook: Outlook = field(default_factory=Outlook)


def step(key: str, settings: EndpointSettings, inputs: Inputs, memory: Memory, foresight: Foresight) -> tuple[Decision, Memory]:
    """What endpoint ``key`` should be now, and what to remember for the next tick."""
    learned = observe(memory.learned, settings, inputs, memory.state.fleet)
    settings = apply(learned, settings)
    policy, idle = settings.policy, settings.idle
    loads = learned.loads[-1:] if learned.loads is not memory.learned.loads else ()
    outlook = foresight.look(memory.outlook, loads, now=inputs.now, lead_seconds=policy.cold_start_seconds)
    keep = max(policy.stabilization_seconds, policy.stable_window_seconds, idle.proof_seconds)
    history = memory.history.add(inputs.sample, keep_seconds=keep)
    situation = Situation(
        key,
        inputs.endpoint,
        history,
        settings,
        inputs.now,
        inputs.at,
        stopped_by_us=inputs.stopped_by_us,
        windows=inputs.windows,
        allowance=inputs.allowance,
        calls=inputs.calls,
        learned=learned,
        outlook=outlook,
    )
    decision, state = decide(situation, memory.state)
    if noticed := _noticed(memory.learned, learned):
        decision = replace(decision, reasons=(*decision.reasons, *noticed))
    return decision, Memory(history, state, learned, outlook)


def _noticed(before: Learned, now: Learned) -> tuple[Reason, ...]:
    """What was learned in this tick and explains what is decided in the next ones."""
    if now.capacity.deploys == before.capacity.deploys:
        return ()
    known = f"{now.capacity.carried:.1f} requests in flight" if now.capacity.carried is not None else "the default"
    why = f"Answers take other times than they did at as much load, as after a deploy: capacity is learned anew, from {known} per replica."
    return (Reason(ReasonCode.DEPLOY, why, {"deploys": now.capacity.deploys}),)
