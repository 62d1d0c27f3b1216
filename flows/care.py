"""What a batch needs from whoever looks after it: a first run, another run, nothing, or an end. Pure.

A run may die in many ways, and each leaves other traces: the Prefect worker reports a crash, or it died too and
nobody reports anything; a person may cancel the run in the UI. The lease that a living run renews decides where
the server's word is not enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from infra.states import BatchState

PENDING_DEADLINE = timedelta(seconds=60)
"""A run that a worker has taken but that has not begun after this time never will: its worker died."""


RESTART_PAUSE = timedelta(seconds=5)
"""Before the second restart; before the next ones twice, three times … as long. The first comes at once."""


class RunState(StrEnum):
    """The states of a run that matter here; Prefect's, with what it cannot know."""

    NONE = "NONE"  # the batch never had a run, or the server has forgotten it
    QUEUED = "QUEUED"  # scheduled: it waits for the pool
    PENDING = "PENDING"  # a worker has taken it
    RUNNING = "RUNNING"
    CANCELLED = "CANCELLED"  # somebody cancelled the run itself
    ENDED = "ENDED"  # completed, failed or crashed


class Care(StrEnum):
    """What is to be done."""

    NOTHING = "NOTHING"
    START = "START"  # its first run
    RESTART = "RESTART"  # another run goes on where the dead one stopped
    GIVE_UP = "GIVE_UP"  # it has been restarted too often
    NO_POOL = "NO_POOL"  # it waited for long enough for a pool that does not open
    CANCEL = "CANCEL"  # nobody works on it any more: note that it is cancelled


@dataclass(frozen=True)
class Patient:
    """An open batch as ledger and Prefect server see it."""

    state: BatchState
    has_run: bool
    run: RunState
    run_since: datetime | None
    """Since when the run has been in that state."""
    lease_until: datetime | None
    """Until when the last sign of life is good; None if nobody gave one, or it was given back."""
    lease_is_its_own: bool
    """Whether this very run gave that sign of life, and not an earlier one or one that somebody started by hand."""
    restarts: int
    """Since the last image was settled."""
    pool_is_open: bool = True


def care_for(patient: Patient, most_restarts: int, now: datetime, queue_deadline: timedelta = timedelta.max) -> Care:
    """What this batch needs now. The same facts always give the same answer, and giving it twice does no harm."""
    # The server learns within seconds that a process died, its lease takes longer to run out.
    died = patient.lease_is_its_own and patient.run in (RunState.ENDED, RunState.CANCELLED)
    if patient.lease_until is not None and patient.lease_until > now and not died:
        return Care.NOTHING
    if patient.state is BatchState.CANCELLING or patient.run is RunState.CANCELLED:
        return Care.CANCEL
    if not patient.has_run:
        return Care.START
    if patient.run is RunState.QUEUED:
        queued = None if patient.run_since is None or patient.pool_is_open else now - patient.run_since
        return Care.NO_POOL if queued is not None and queued > queue_deadline else Care.NOTHING
    showed_itself = patient.lease_until is not None and patient.lease_is_its_own
    if patient.run in (RunState.PENDING, RunState.RUNNING) and not showed_itself:
        # It has not taken its lease yet, or is just giving it back.
        began = patient.run_since
        if began is None or now - began < PENDING_DEADLINE:
            return Care.NOTHING
    if patient.restarts >= most_restarts:
        return Care.GIVE_UP
    pause = RESTART_PAUSE * patient.restarts
    return Care.RESTART if patient.run_since is None or now - patient.run_since >= pause else Care.NOTHING
