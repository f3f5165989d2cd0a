"""How a replica shares itself among its requests."""

import pytest

from scaler.settings import ReplicaSettings
from scaler.world.catalog import HARDWARE
from scaler.world.replica import Job, JobState, Performance, Replica, ReplicaState

SETTINGS = ReplicaSettings(slots=4, ttft_seconds=1.0, seconds_per_input_token=0.001, seconds_per_output_token=0.1, slowdown=0.6)


def ready_replica(hardware: str = "2x_nvidia_h100_80gb_sxm") -> Replica:
    replica = Replica(1, Performance.of(SETTINGS, HARDWARE[hardware]), placed_at=0.0, ready_at=0.0)
    replica.state = ReplicaState.READY
    return replica


def admitted(replica: Replica, now: float, *, input_tokens: int = 0, output_tokens: int = 10) -> Job:
    job = Job("endpoint-one", input_tokens, output_tokens, now)
    replica.admit(job, now)
    return job


def run(replica: Replica) -> None:
    """Live through all milestones."""
    while (due := replica.next_due()) is not None:
        replica.step(due)


def test_an_idle_replica_takes_its_own_time() -> None:
    replica = ready_replica()
    job = admitted(replica, 10.0, input_tokens=500, output_tokens=10)
    run(replica)
    assert job.first_token_at == pytest.approx(11.5)
    assert job.finished_at == pytest.approx(12.5)
    assert job.state is JobState.DONE
    assert replica.in_flight == 0


def test_a_full_replica_takes_one_plus_slowdown_times_as_long() -> None:
    replica = ready_replica()
    jobs = [admitted(replica, 0.0) for _ in range(4)]
    assert not replica.has_room
    run(replica)
    assert [job.first_token_at for job in jobs] == pytest.approx([1.6] * 4)
    assert [job.finished_at for job in jobs] == pytest.approx([3.2] * 4)


def test_who_comes_late_slows_the_rest_from_then_on() -> None:
    replica = ready_replica()
    first = admitted(replica, 0.0)
    second = admitted(replica, 1.0)
    # Alone until 1.0 (half of 2.0 s of work done), then two share: each advances at 1 / 1.2.
    assert replica.next_due() == pytest.approx(1.0)
    run(replica)
    assert first.finished_at == pytest.approx(1.0 + 1.0 * 1.2)
    # The second has done 1.0 of its 2.0 s when the first leaves, and is alone for the rest.
    assert second.finished_at == pytest.approx(2.2 + 1.0)


def test_tokens_come_out_evenly_between_first_and_last() -> None:
    replica = ready_replica()
    job = admitted(replica, 0.0, output_tokens=10)
    assert job.tokens_out(0.9) == 0
    replica.step(1.0)
    assert [job.tokens_out(at) for at in (1.0, 1.05, 1.1, 1.55, 1.9)] == [1, 1, 2, 6, 10]
    assert job.token_due(6, 1.05) == pytest.approx(1.5)
    due = job.token_due(7, 1.05)
    assert due is not None
    assert job.tokens_out(due) == 7


def test_more_gpus_answer_faster_but_not_in_proportion() -> None:
    times = []
    for hardware in ("2x_nvidia_h100_80gb_sxm", "4x_nvidia_h100_80gb_sxm", "8x_nvidia_h100_80gb_sxm"):
        replica = ready_replica(hardware)
        job = admitted(replica, 0.0)
        run(replica)
        times.append(job.finished_at or 0.0)
    two, four, eight = times
    assert two > four > eight
    assert two / 2 < four
    assert two / 4 < eight


def test_giving_up_frees_the_slot_and_speeds_up_the_rest() -> None:
    replica = ready_replica()
    stays, leaves = admitted(replica, 0.0), admitted(replica, 0.0)
    replica.leave(leaves, JobState.CANCELLED, 0.6)
    assert (leaves.state, leaves.finished_at, leaves.tokens_at_end) == (JobState.CANCELLED, 0.6, 0)
    assert replica.in_flight == 1
    run(replica)
    assert stays.finished_at == pytest.approx(0.6 + 1.5)
    assert leaves.finished_at == 0.6


def test_a_job_ends_once() -> None:
    job = Job("endpoint-one", 1, 1, 0.0)
    job.end(JobState.CANCELLED, 1.0)
    with pytest.raises(RuntimeError, match="ended cancelled"):
        job.end(JobState.DONE, 2.0)


def test_an_embedding_ends_with_its_prefill() -> None:
    replica = ready_replica()
    job = admitted(replica, 0.0, input_tokens=1000, output_tokens=0)
    run(replica)
    assert job.first_token_at == job.finished_at == pytest.approx(2.0)
    assert job.tokens_out(5.0) == 0


def test_listeners_hear_of_the_first_token_and_of_the_end() -> None:
    replica = ready_replica()
    job = admitted(replica, 0.0)
    heard: list[str] = []
    job.notify = lambda: heard.append(job.state)
    run(replica)
    assert heard == [JobState.RUNNING, JobState.DONE]
