"""Which states the story knows and which moves between them are legal, so that no other module has to guess.

Pure: no clock, no database, no I/O. `MOVES` is the one table of legal moves; the text on each edge says when
the move happens, and the diagrams in `docs/ledger.md` are tested against it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar


class BatchState(StrEnum):
    """Where a batch is on its way from the inbox to the outbox."""

    ARRIVED = "ARRIVED"  # taken from the inbox: the row exists, nothing was read yet
    REGISTERED = "REGISTERED"  # its images and chunks are known; it waits for machines
    RUNNING = "RUNNING"  # chunks are being worked off
    DONE = "DONE"  # every image has its result
    DONE_WITH_REJECTS = "DONE_WITH_REJECTS"  # every image was tried, some were set aside with a reason
    FAILED = "FAILED"  # it could not be worked off; `reason` and `message` say why and what to do
    CANCELLING = "CANCELLING"  # somebody asked to stop it; images in flight may still end
    CANCELLED = "CANCELLED"  # it was stopped; what was done stays done


class BatchEnd(StrEnum):
    """Why a batch did not end as DONE."""

    UNREADABLE = "UNREADABLE"  # the folder or zip cannot be read, or is not safe to unpack
    BAD_WISH = "BAD_WISH"  # batch.toml asks for something that is not possible
    BAD_MODEL = "BAD_MODEL"  # the model cannot be loaded or is no super-resolution model
    EMPTY = "EMPTY"  # there is no image in it
    ALL_REJECTED = "ALL_REJECTED"  # there are images, and not one of them could be enhanced
    CANCELLED_BY_USER = "CANCELLED_BY_USER"  # somebody asked to stop it
    GAVE_UP = "GAVE_UP"  # it was started again too many times
    NO_CAPACITY = "NO_CAPACITY"  # no machine could be had in time
    INTERNAL_ERROR = "INTERNAL_ERROR"  # a fault of ours; the log of the run has the details


class ImageState(StrEnum):
    """What became of one image."""

    WAITING = "WAITING"  # it has no result yet
    DONE = "DONE"  # its result is in the outbox
    REJECTED = "REJECTED"  # it cannot be enhanced, and `reason` says why
    CANCELLED = "CANCELLED"  # its batch was stopped before its turn


class ChunkState(StrEnum):
    """What is happening with the images that travel together."""

    WAITING = "WAITING"  # no attempt is working on it
    RUNNING = "RUNNING"  # one attempt is working on it
    DONE = "DONE"  # none of its images waits
    CANCELLED = "CANCELLED"  # its batch ended first; a retry cuts new chunks


class AttemptState(StrEnum):
    """Whether a try may still hand in results."""

    OPEN = "OPEN"  # its results are accepted
    ENDED = "ENDED"  # its results are refused, however late they come


class AttemptEnd(StrEnum):
    """Why one try of a chunk ended. Each kind has a budget of its own."""

    FINISHED = "FINISHED"  # the machine worked through the whole chunk
    MACHINE_LOST = "MACHINE_LOST"  # the connection broke without notice
    PREEMPTED = "PREEMPTED"  # the cloud took the machine back and said so
    TIMED_OUT = "TIMED_OUT"  # it took longer than any healthy machine would
    FAILED = "FAILED"  # the machine reported an error that is not about one image
    SUPERSEDED = "SUPERSEDED"  # a newer attempt of the same chunk took over
    CANCELLED = "CANCELLED"  # its batch was stopped


class MachineState(StrEnum):
    """Where a rented machine is in its life; from PROVISIONING on, the words of Compute Engine."""

    REQUESTED = "REQUESTED"  # the row is written; the call that costs money comes next
    PROVISIONING = "PROVISIONING"  # the cloud is looking for hardware
    STAGING = "STAGING"  # hardware was found, the machine is being prepared
    RUNNING = "RUNNING"  # it boots or works, and costs money
    STOPPING = "STOPPING"  # it was told to stop, by us or by a preemption
    TERMINATED = "TERMINATED"  # the cloud's own listing says that it is gone


class MachineEnd(StrEnum):
    """Why a machine was given back, went away or never came. Each kind of trouble has a budget of its own."""

    IDLE = "IDLE"  # it had no work for the whole idle window
    POOL_CLOSED = "POOL_CLOSED"  # the life of its pool ended
    BUDGET = "BUDGET"  # the money of the day is spent
    SURPLUS = "SURPLUS"  # the plan allows fewer machines now, or less money an hour
    PREEMPTED = "PREEMPTED"  # the cloud took it back
    BOOT_FAILED = "BOOT_FAILED"  # its worker did not check in before the boot deadline
    HUNG = "HUNG"  # the cloud says that it runs, but its worker has left the scheduler
    LOST = "LOST"  # it vanished from the listing without a reason known to us
    STOPPED_ITSELF = "STOPPED_ITSELF"  # its own watchdog, or the system on it, powered it off
    MAX_RUN_DURATION = "MAX_RUN_DURATION"  # the cloud's own time limit ended it
    STOCKOUT = "STOCKOUT"  # never created: its zone had none
    QUOTA = "QUOTA"  # never created: the project may not have more
    REFUSED = "REFUSED"  # never created: no permission, no such image, a bad request
    NEVER_CREATED = "NEVER_CREATED"  # never created, for another reason; the message says which


NEVER_CAME: Final = frozenset({MachineEnd.STOCKOUT, MachineEnd.QUOTA, MachineEnd.REFUSED, MachineEnd.NEVER_CREATED})
"""Ends of machines that cost nothing, because there never was one."""


class LifeState(StrEnum):
    """Where one life of a pool is, from its first machine to its last."""

    OPENING = "OPENING"  # the scheduler is starting
    OPEN = "OPEN"  # machines can be rented and chunks submitted
    CLOSING = "CLOSING"  # nothing new starts; machines are being given back
    CLOSED = "CLOSED"  # the last machine is gone


class LifeEnd(StrEnum):
    """Why the life of a pool ended."""

    IDLE = "IDLE"  # no work for the whole idle window
    ASKED = "ASKED"  # somebody stopped it
    REPLACED = "REPLACED"  # the process that kept it died, and another one took over
    FAILED = "FAILED"  # it could not open, or broke; the message says how


class SourceKind(StrEnum):
    """How a batch lay in the inbox."""

    FOLDER = "FOLDER"  # inbox/<name>/…
    ZIP = "ZIP"  # inbox/<name>.zip


class EventKind(StrEnum):
    """The moments of the story that the diary keeps."""

    BATCH_ARRIVED = "BATCH_ARRIVED"  # taken from the inbox
    BATCH_REVISED = "BATCH_REVISED"  # its wish was read again, before a new round
    BATCH_REGISTERED = "BATCH_REGISTERED"  # images and chunks are known
    BATCH_STARTED = "BATCH_STARTED"  # the first chunk may go out
    BATCH_ATTACHED = "BATCH_ATTACHED"  # a flow run looks after it
    BATCH_FINISHED = "BATCH_FINISHED"  # DONE or DONE_WITH_REJECTS
    BATCH_FAILED = "BATCH_FAILED"  # ended without success
    BATCH_CANCEL_ASKED = "BATCH_CANCEL_ASKED"  # somebody wants it stopped
    BATCH_CANCELLED = "BATCH_CANCELLED"  # it is stopped
    BATCH_RETRIED = "BATCH_RETRIED"  # a new round works off what is missing
    BATCH_RESTARTED = "BATCH_RESTARTED"  # its flow run died, another one goes on
    ATTEMPT_OPENED = "ATTEMPT_OPENED"  # a chunk goes to a machine
    ATTEMPT_ENDED = "ATTEMPT_ENDED"  # and how that ended
    IMAGES_RECORDED = "IMAGES_RECORDED"  # some images have their outcome
    IMAGE_REJECTED = "IMAGE_REJECTED"  # one image was set aside, and why
    RESULT_DIFFERS = "RESULT_DIFFERS"  # a settled image got another result; the first is kept
    MACHINE_REQUESTED = "MACHINE_REQUESTED"  # the row before the call that costs
    MACHINE_MOVED = "MACHINE_MOVED"  # the cloud says it is in another state
    MACHINE_CHECKED_IN = "MACHINE_CHECKED_IN"  # its worker reached the scheduler
    MACHINE_TERMINATED = "MACHINE_TERMINATED"  # it is gone, and why
    ORPHAN_FOUND = "ORPHAN_FOUND"  # a machine with our label that no row knows is given back
    POOL_WAITS = "POOL_WAITS"  # there is work, and no more machines can be rented; the message says why
    LIFE_MOVED = "LIFE_MOVED"  # a life of the pool opens or closes
    LEASE_TAKEN_OVER = "LEASE_TAKEN_OVER"  # a lease ran out under its holder, and another one took it


State = BatchState | ImageState | ChunkState | AttemptState | MachineState | LifeState
SomeState = TypeVar("SomeState", BatchState, ImageState, ChunkState, AttemptState, MachineState, LifeState)

# fmt: off
MOVES: Final[Mapping[type[State], Mapping[State, Mapping[State, str]]]] = {
    BatchState: {
        BatchState.ARRIVED: {
            BatchState.REGISTERED: "its images were read and cut into chunks",
            BatchState.FAILED: "it cannot be read, or wishes what is not possible",
            BatchState.CANCELLING: "somebody asked to stop it",
        },
        BatchState.REGISTERED: {
            BatchState.RUNNING: "there is a machine for it",
            BatchState.FAILED: "no machine could be had in time",
            BatchState.CANCELLING: "somebody asked to stop it",
        },
        BatchState.RUNNING: {
            BatchState.DONE: "every image has its result",
            BatchState.DONE_WITH_REJECTS: "no image waits, some were rejected",
            BatchState.FAILED: "no image could be enhanced, or we gave up",
            BatchState.CANCELLING: "somebody asked to stop it",
        },
        BatchState.CANCELLING: {
            BatchState.CANCELLED: "nothing of it is in flight any more",
        },
        BatchState.DONE: {
            BatchState.ARRIVED: "retried, for images that were added since",
        },
        BatchState.DONE_WITH_REJECTS: {
            BatchState.ARRIVED: "retried, for its rejected images",
        },
        BatchState.FAILED: {
            BatchState.ARRIVED: "retried, for what is missing",
        },
        BatchState.CANCELLED: {
            BatchState.ARRIVED: "retried, for what is missing",
        },
    },
    ImageState: {
        ImageState.WAITING: {
            ImageState.DONE: "its result was published",
            ImageState.REJECTED: "it cannot be enhanced",
            ImageState.CANCELLED: "its batch was stopped first",
        },
        ImageState.DONE: {},
        ImageState.REJECTED: {
            ImageState.WAITING: "its batch is retried",
        },
        ImageState.CANCELLED: {
            ImageState.WAITING: "its batch is retried",
        },
    },
    ChunkState: {
        ChunkState.WAITING: {
            ChunkState.RUNNING: "an attempt was opened",
            ChunkState.CANCELLED: "its batch failed or was stopped",
        },
        ChunkState.RUNNING: {
            ChunkState.DONE: "its attempt ended and none of its images waits",
            ChunkState.WAITING: "its attempt ended too early",
            ChunkState.CANCELLED: "its batch failed or was stopped",
        },
        ChunkState.DONE: {},
        ChunkState.CANCELLED: {},
    },
    AttemptState: {
        AttemptState.OPEN: {
            AttemptState.ENDED: "it finished, or was lost, preempted, superseded, …",
        },
        AttemptState.ENDED: {},
    },
    MachineState: {
        MachineState.REQUESTED: {
            MachineState.PROVISIONING: "the cloud accepted the request",
            MachineState.STAGING: "seen late, hardware was found already",
            MachineState.RUNNING: "seen late, it runs already",
            MachineState.STOPPING: "seen late, it is being taken back already",
            MachineState.TERMINATED: "it was never created, or is gone from the listing",
        },
        MachineState.PROVISIONING: {
            MachineState.STAGING: "hardware was found",
            MachineState.RUNNING: "seen late, it runs already",
            MachineState.STOPPING: "given back or preempted before it ran",
            MachineState.TERMINATED: "gone from the listing (stockout, deleted)",
        },
        MachineState.STAGING: {
            MachineState.RUNNING: "it boots",
            MachineState.STOPPING: "given back or preempted before it ran",
            MachineState.TERMINATED: "gone from the listing",
        },
        MachineState.RUNNING: {
            MachineState.STOPPING: "given back, or preempted with notice",
            MachineState.TERMINATED: "gone from the listing (preempted without notice, killed)",
        },
        MachineState.STOPPING: {
            MachineState.TERMINATED: "gone from the listing",
        },
        MachineState.TERMINATED: {},
    },
    LifeState: {
        LifeState.OPENING: {
            LifeState.OPEN: "the scheduler listens",
            LifeState.CLOSING: "it could not open, or was stopped at once",
        },
        LifeState.OPEN: {
            LifeState.CLOSING: "idle, asked to stop, or replaced",
        },
        LifeState.CLOSING: {
            LifeState.CLOSED: "its last machine is gone",
        },
        LifeState.CLOSED: {},
    },
}
# fmt: on

# fmt: off
WAYS_OUT: Final[Mapping[type[State], Mapping[State, str]]] = {
    BatchState: {
        BatchState.ARRIVED: "the watcher starts its run within seconds, and another one when that dies",
        BatchState.REGISTERED: "its run waits for a machine until `capacity_deadline`, then it fails as NO_CAPACITY",
        BatchState.RUNNING: "its chunks end one by one; when its run dies the watcher restarts it, `restarts` times",
        BatchState.CANCELLING: "its run ends it within a second; when there is none, the watcher does",
    },
    ImageState: {
        ImageState.WAITING: "goes with its chunk; in a batch that has ended it is at rest until a retry",
    },
    ChunkState: {
        ChunkState.WAITING: "its batch's run sends it out, or the end of its batch cancels it",
        ChunkState.RUNNING: "goes with its attempt",
    },
    AttemptState: {
        AttemptState.OPEN: "`image_deadline` after its last news, `capacity_deadline` without any; "
        "a restart supersedes it",
    },
    MachineState: {
        MachineState.REQUESTED: "its order is repeated for five minutes, and given up when it cannot bring a machine "
        "any more, 90 s after the last one; `boot_deadline`",
        MachineState.PROVISIONING: "given back at its `boot_deadline`",
        MachineState.STAGING: "given back at its `boot_deadline`",
        MachineState.RUNNING: "given back at its `boot_deadline`, after its `idle_window`, or a minute after it left "
        "the scheduler; its own watchdog; `max_run`",
        MachineState.STOPPING: "its return is asked for again every 15 s, until the cloud lists it no more",
    },
    LifeState: {
        LifeState.OPENING: "fails after a minute; when its keeper dies, the next one adopts or closes it",
        LifeState.OPEN: "ends after the idle window, and before its certificates do after seven days; "
        "fails when its scheduler dies",
        LifeState.CLOSING: "its machines are given back; after five minutes the next keeper goes on with that",
    },
}
# fmt: on
"""For every state that is not final: who moves it on, and when at the latest. A test proves each of them."""

RETRYABLE_BATCHES: Final = frozenset(
    {BatchState.DONE, BatchState.DONE_WITH_REJECTS, BatchState.FAILED, BatchState.CANCELLED}
)
OPEN_BATCHES: Final = frozenset({BatchState.ARRIVED, BatchState.REGISTERED, BatchState.RUNNING, BatchState.CANCELLING})
OPEN_CHUNKS: Final = frozenset({ChunkState.WAITING, ChunkState.RUNNING})


class IllegalMove(Exception):
    """A move that the table does not know: a fault in the program, or a step that came too late."""

    def __init__(self, what: str, start: State, to: State) -> None:
        allowed = ", ".join(MOVES[type(start)][start]) or "nowhere: this is an end"
        super().__init__(f"{what} is {start} and cannot become {to}. From {start} it may go to {allowed}.")
        self.start = start
        self.to = to


def may_move(start: SomeState, to: SomeState) -> bool:
    """Say whether the table knows the move. Staying where one is, is not a move."""
    return to in MOVES[type(start)][start]


def check_move(what: str, start: SomeState, to: SomeState) -> SomeState:
    """Return `to` when the move is legal, else raise `IllegalMove` in the name of `what`."""
    if not may_move(start, to):
        raise IllegalMove(what, start, to)
    return to
