"""Decisions made again from the journal: what was decided then must come out again, bit for bit.

The policy is a fold, so a replay needs one checkpoint (settings and memory) and the inputs of every tick since. The controller keeps a
checkpoint with the first decision of a process, with the first after a change of settings or after one that could not be written, and
every `CHECKPOINT_SECONDS`. Pruning takes the beginning of the chain: what is left before the next checkpoint cannot be made again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from scaler.model import Decision
from scaler.policy import Memory, step
from scaler.pooled import LIVE
from scaler.settings import EndpointSettings
from scaler.store.base import Checkpoint, DecisionRecord, StoreError, StoreFault
from scaler.store.codec import decode, encode

CHECKPOINT_SECONDS = 6 * 3600.0
"""How much of the journal may hang on one checkpoint."""

_MEMORY: TypeAdapter[Memory] = TypeAdapter(Memory)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision of the journal, and the one made now from the same inputs; None where no checkpoint came before it."""

    record: DecisionRecord
    again: Decision | None

    @property
    def same(self) -> bool:
        """Whether both are equal to the last bit, the new one as the journal would give it back."""
        return self.again is not None and encode(decode(Decision, encode(self.again))) == encode(self.record.decision)


@dataclass(slots=True)
class Summary:
    """How a replay went: decisions made again alike, without a checkpoint before them, and otherwise; some of the last."""

    same: int = 0
    without_checkpoint: int = 0
    different: int = 0
    examples: list[Replayed] = field(default_factory=list[Replayed])

    @classmethod
    def of(cls, replayed: Iterable[Replayed], *, keep: int = 10) -> "Summary":
        """Count; the first ``keep`` different ones are examples."""
        summary = cls()
        for one in replayed:
            if one.again is None:
                summary.without_checkpoint += 1
            elif one.same:
                summary.same += 1
            else:
                summary.different += 1
                summary.examples.extend([one] * (len(summary.examples) < keep))
        return summary


def checkpoint(settings: EndpointSettings, memory: Memory) -> Checkpoint:
    """What the next decision is made with, as text."""
    return Checkpoint(settings.model_dump_json(), encode(memory))


def restore(kept: Checkpoint) -> tuple[EndpointSettings, Memory]:
    """What `checkpoint` has kept. Raises `StoreError` for one that this version cannot read."""
    try:
        return EndpointSettings.model_validate_json(kept.settings), _MEMORY.validate_json(kept.memory)
    except ValidationError as error:
        raise StoreError(StoreFault.CORRUPT, f"a checkpoint is not one of this version ({error.error_count()} faults)") from None


def replay(records: Iterable[DecisionRecord]) -> Iterator[Replayed]:
    """Make each decision of one endpoint again; ``records`` oldest first. Raises `StoreError` where `restore` does."""
    settings: EndpointSettings | None = None
    memory = Memory()
    for record in records:
        if record.checkpoint is not None:
            settings, memory = restore(record.checkpoint)
        if settings is None:
            yield Replayed(record, None)
            continue
        again, memory = step(record.decision.endpoint, settings, record.inputs, memory, LIVE)
        yield Replayed(record, again)
