"""The story of one batch: register → capacity → enhance → outcomes → report."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, cast

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import registering, reporting
from flows.enhancing import Enhancing, LostMachine, NoCapacity
from flows.leases import BATCH_SECONDS, of_batch
from flows.progress import ProgressArtifact
from infra.arrivals import ArrivalError, Survey
from infra.pool.ends import Stopped
from infra.records import Batch, Chunk, IllegalMove, Ledger, LedgerUnreachable, Refused
from infra.report import PREVIEWS
from infra.settings import Settings, read_settings
from infra.states import OPEN_BATCHES, BatchEnd, BatchState
from infra.storage import LocalStore, StorageError
from infra.storage.shelf import Shelf
from workers.chunk import WrongModel
from workers.model import ModelError

PULSE: Final = 0.5
MOST_CHUNKS: Final = 1024
"""Chunks that are out at the same time; each has a thread that waits for it."""
TASK_RUNNER: TaskRunner[PrefectFuture[Any]] = cast(Any, ThreadPoolTaskRunner(max_workers=MOST_CHUNKS))
EXTRA_CHUNKS: Final = 1
"""Chunks that wait at the scheduler beyond one per GPU, so that no machine waits for the next."""


def run_name() -> str:
    """The batch's name; a run that was named after its batch already keeps its name, which may tell the round."""
    batch = str(flow_run.parameters["batch"])
    return flow_run.name if flow_run.name and flow_run.name.startswith(batch) else batch


@flow(name="process-batch", flow_run_name=run_name, task_runner=TASK_RUNNER)
def process_batch(batch: str) -> State[Any]:
    """Enhance one batch of the inbox; its results, manifest and report go to the outbox.

    Args:
        batch: Name of the batch, as `spotlift status` shows it.
    """
    settings = read_settings()
    ledger = Ledger(settings.ledger_url)
    row = ledger.find_batch(batch)
    if row is None:
        return Failed(message=f"there is no batch {batch!r}: put it into the inbox, the watcher starts its run")
    if row.state not in OPEN_BATCHES:
        return Completed(message=f"{batch} is {row.state} already; `spotlift retry {batch}` works off what is missing")
    if not ledger.hold(of_batch(row.id), str(flow_run.id), BATCH_SECONDS, _now()):
        return Completed(message=f"another run is at work on {batch}")
    try:
        return _process(settings, ledger, row)
    finally:
        ledger.let_go(of_batch(row.id), str(flow_run.id))


def _process(settings: Settings, ledger: Ledger, row: Batch) -> State[Any]:
    work = _enhancing(settings, ledger, row)
    try:
        with _pulse(work):
            where = _story(work)
        return _ended(work.batch, where)
    except ArrivalError as error:
        return _failed(work, error.end, error.message)
    except NoCapacity as error:
        return _failed(work, BatchEnd.NO_CAPACITY, str(error))
    except (ModelError, WrongModel) as error:
        return _failed(work, BatchEnd.BAD_MODEL, str(error))
    except LostMachine as error:
        lost = f"one chunk was lost {settings.attempts} times with its machine, the last time because {error}"
        advice = "Rent on demand (SPOTLIFT_SPOT=false) or in other zones"
        return _failed(work, BatchEnd.GAVE_UP, f"{lost}. {advice}, then `spotlift retry {row.name}` goes on")
    except (OSError, StorageError, Refused) as error:  # a full disk, say, here or on a machine
        return _failed(work, BatchEnd.INTERNAL_ERROR, f"{error} `spotlift retry {row.name}` goes on")
    except (Stopped, IllegalMove):
        if work.trouble is not None:
            raise work.trouble from None
        return _stopped(work)
    finally:
        work.close()


def _story(work: Enhancing) -> str:
    """What the graph of a run shows; where the report lies."""
    registered = register(work, return_state=True)
    work.batch, survey = registered.result()
    work.preview_every = max(1, ceil(len(survey.images) / PREVIEWS))
    sent: list[Any] = [registered]
    if work.ledger.chunks(work.batch.id, open_only=True):
        ready = capacity(work, wait_for=[registered], return_state=True)
        ready.result()
        sent = [*work_off(work, ready)]
    else:
        work.ledger.start(work.batch.id, _now())
    settled = outcomes(work, wait_for=sent, return_state=True)
    return report(work, settled.result(), survey, wait_for=[settled])


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(work: Enhancing) -> tuple[Batch, Survey]:
    """Write down which images there are, and cut them into chunks."""
    batch, survey = registering.register(work.ledger, work.settings, work.batch, _now())
    get_run_logger().info(
        "%d images in %d chunks; %d other files are passed over",
        len(survey.images), len(work.ledger.chunks(batch.id, open_only=True)), len(survey.ignored),
    )  # fmt: skip
    return batch, survey


@task(task_run_name="capacity", cache_policy=NO_CACHE)
def capacity(work: Enhancing) -> int:
    """Wait until the pool has a machine."""
    machines = work.wait_for_machines(get_run_logger().info)
    work.ledger.start(work.batch.id, _now())
    return machines


@task(
    task_run_name="enhance chunk {number}",
    cache_policy=NO_CACHE,
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), LostMachine),
)
def enhance(work: Enhancing, chunk: Chunk, number: int) -> State[Any]:  # noqa: ARG001 - for the name of the run
    """Have one chunk worked off; a lost machine shows as a retry of this task.

    Why it was retried stands in its log, and in the message of its last state, where people look first.
    """
    try:
        done, rejected = work.chunk(chunk)
    except Stopped:
        return Cancelled(message="the batch is being stopped")
    said = f"{done} images enhanced" + (f", {rejected} rejected" if rejected else "")
    if losses := work.losses_of(chunk):
        said += f" in the last of {len(losses) + 1} attempts: {'; '.join(losses)}"
    return Completed(message=said)


@task(task_run_name="outcomes", cache_policy=NO_CACHE)
def outcomes(work: Enhancing) -> str:
    """Settle how the batch ends: as the ledger counts, with a remark on what came too late."""
    work.flush()
    remark = registering.came_later(work.ledger, work.settings, work.batch)
    work.batch = work.ledger.foresee(work.batch.id, _now(), remark)
    get_run_logger().info("%s will be %s. %s", work.batch.name, work.batch.state, work.batch.message)
    return remark


@task(task_run_name="report", cache_policy=NO_CACHE)
def report(work: Enhancing, remark: str, survey: Survey) -> str:
    """Publish manifest and report page; only then the batch has ended, so that none ends without them."""
    where = reporting.publish(work.ledger, work.batch, survey, work.outputs.store, work.work.store)
    work.batch = work.ledger.finish(work.batch.id, _now(), remark)
    reporting.clean_up(work.batch, work.work.store)
    return where


def work_off(work: Enhancing, ready: State[Any]) -> list[PrefectFuture[Any]]:
    """Send out every open chunk, a few more at a time than there are GPUs at that time; wait for all of them.

    Raises what a chunk raised for good, or Stopped.
    """
    ended = threading.Semaphore(0)
    out = 0
    send = enhance.with_options(retries=work.settings.attempts - 1, retry_delay_seconds=0)
    sent: list[PrefectFuture[Any]] = []
    for chunk in work.ledger.chunks(work.batch.id, open_only=True):
        while not work.stop.is_set() and out >= min(max(work.places(), 1) + EXTRA_CHUNKS, MOST_CHUNKS):
            if ended.acquire(timeout=PULSE):
                out -= 1
        if work.stop.is_set() or any(future.state.is_failed() for future in sent):
            break
        sent.append(send.submit(work, chunk, chunk.number, return_state=False, wait_for=[ready]))
        sent[-1].add_done_callback(lambda _: ended.release())
        out += 1
    for future in sent:
        future.wait()
    if work.stop.is_set():
        raise Stopped
    for future in sent:
        future.result()
    return sent


@contextmanager
def _pulse(work: Enhancing) -> Iterator[None]:
    """While the block runs: write news to the ledger, show progress, keep the lease, notice a cancel."""
    ended = threading.Event()
    holder, artifact, say = str(flow_run.id), ProgressArtifact(work.batch.name), get_run_logger().warning

    def beat() -> None:
        held_until = time.monotonic() + BATCH_SECONDS
        while not ended.wait(PULSE):
            try:
                work.flush()
                if work.ledger.hold(of_batch(work.batch.id), holder, BATCH_SECONDS, _now()):
                    held_until = time.monotonic() + BATCH_SECONDS
                else:
                    work.stop.set()
                if work.ledger.batch(work.batch.id).state is BatchState.CANCELLING:
                    work.stop.set()
                artifact.show(work.ledger.progress(work.batch.id), say)
            except LedgerUnreachable as error:
                say("%s", error)
                if time.monotonic() > held_until:  # somebody else may have taken over by now
                    work.stop.set()
            except Exception as error:  # noqa: BLE001 - without a pulse the batch must not go on
                work.trouble = error
                work.stop.set()

    # With this run's context, so that the artifact is shown with the run.
    thread = threading.Thread(target=copy_context().run, args=(beat,), name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        artifact.show(work.ledger.progress(work.batch.id), say)


def _enhancing(settings: Settings, ledger: Ledger, row: Batch) -> Enhancing:
    def shelf(folder: Any) -> Shelf:
        return Shelf(LocalStore(folder))

    return Enhancing(
        settings,
        ledger,
        row,
        inputs=shelf(registering.folder_of(row, settings)),
        outputs=shelf(settings.outbox_folder),
        work=shelf(settings.work_folder),
        topic=f"batch-{row.id}-{flow_run.id}",
    )


def _failed(work: Enhancing, end: BatchEnd, why: str) -> State[Any]:
    try:
        work.ledger.fail(work.batch.id, end, why, _now())
    except IllegalMove:  # somebody asked to stop it meanwhile
        return _stopped(work)
    return Failed(message=why)


def _stopped(work: Enhancing) -> State[Any]:
    """The batch was cancelled; or another run has taken over, and this one only goes away."""
    if work.ledger.batch(work.batch.id).state is not BatchState.CANCELLING:
        return Failed(message="it showed no sign of life for too long; another run goes on with the batch")
    batch = work.ledger.cancelled(work.batch.id, _now())
    reporting.publish(work.ledger, batch, None, work.outputs.store, work.work.store)
    return Cancelled(message=f"cancelled; `spotlift retry {batch.name}` works off what is missing")


def _ended(batch: Batch, where: str) -> State[Any]:
    if batch.state is BatchState.FAILED:
        return Failed(message=f"{batch.message} The report: {where}")
    name = "DoneWithRejects" if batch.state is BatchState.DONE_WITH_REJECTS else "Completed"
    return Completed(name=name, message=f"{batch.message or 'every image is enhanced.'} The report: {where}")


def _now() -> datetime:
    return datetime.now(UTC)
