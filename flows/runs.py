"""The runs of our deployments, as the Prefect server knows them: start, look up, end.

The only module that talks to the Prefect API by hand. It is used by the watcher, the command line and notebooks,
inside and outside of flows, so it takes the server's address as a value and never depends on a run's context.
"""

from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Crashed, Failed

from infra import stack
from infra.settings import Settings

PROCESS_BATCH: Final = "process-batch/process-batch"
SPOT_POOL: Final = "spot-pool/spot-pool"
WATCH_INBOX: Final = "watch-inbox/watch-inbox"

DEPLOYMENTS: Final = (WATCH_INBOX, PROCESS_BATCH, SPOT_POOL)

LIVING: Final = (
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.CANCELLING,
    StateType.PAUSED,
)


class ServerUnreachable(Exception):
    """The Prefect server does not answer as it should; a sentence that says what to do."""


@dataclass(frozen=True)
class Runs:
    """The runs on one Prefect server, given by the address of its API. Every method may raise ServerUnreachable."""

    api: str

    @classmethod
    def of(cls, settings: Settings) -> "Runs":
        """The runs of the local stack."""
        return cls(stack.address(settings).api)

    def ensure_work_pool(self, name: str, description: str) -> None:
        """Make the work pool of type process unless it is there."""
        with self._server() as client:
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", description=description))
            except ObjectAlreadyExists:
                return

    def set_parameters(self, deployment: str, parameters: dict[str, Any]) -> None:
        """What runs of a deployment get when nobody says otherwise; its form in the UI begins with them."""
        with self._server() as client:
            found = client.read_deployment_by_name(deployment)
            client.update_deployment(found.id, DeploymentUpdate(parameters=parameters))

    def start(self, deployment: str) -> UUID:
        """Queue a run of a deployment, given as "flow/deployment"."""
        return self._create(deployment)

    def start_batch(self, name: str, round_: int) -> UUID:
        """Queue the run of a batch; it starts as soon as the pool has a worker. Its tags lead back to the batch."""
        return self._create_for(name, name if round_ == 1 else f"{name} (round {round_})")

    def show_refused(self, name: str, why: str) -> UUID:
        """A run of the batch that has failed already, so that the reason stands where people look."""
        return self._create_for(name, name, state=Failed(message=why))

    def living(self, deployment: str) -> list[FlowRun]:
        """The runs of a deployment that have not ended; those that its schedule holds for later do not count."""
        living = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(LIVING))))
        with self._server() as client:
            found = client.read_flow_runs(flow_run_filter=living, **_of(deployment))
        return [run for run in found if not run.auto_scheduled or run.state_type is not StateType.SCHEDULED]

    def latest(self, deployment: str) -> FlowRun | None:
        """The run of a deployment that began last, living or ended; None when none ever began."""
        begun = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED])))
        newest = FlowRunSort.START_TIME_DESC
        with self._server() as client:
            found = client.read_flow_runs(flow_run_filter=begun, sort=newest, limit=1, **_of(deployment))
        return found[0] if found else None

    def why_failed(self, deployment: str) -> str:
        """What the latest run of a deployment said when it failed; empty if it did not fail."""
        run = self.latest(deployment)
        if run is None or run.state is None or not run.state.is_failed():
            return ""
        return (run.state.message or "").rstrip(".")

    def missing(self) -> list[str]:
        """Which of our deployments the server does not know, or can run nowhere because their work pool is gone."""
        with self._server() as client:
            return [deployment for deployment in DEPLOYMENTS if not _can_run(client, deployment)]

    def find(self, run_id: UUID | str) -> FlowRun | None:
        """The run; None when the server does not know it."""
        with self._server() as client:
            try:
                return client.read_flow_run(UUID(str(run_id)))
            except ObjectNotFound:
                return None

    def cancel(self, run_id: UUID | str, why: str) -> None:
        """Say that a run is cancelled; one that has ended stays as it ended."""
        self._end(run_id, Cancelled(message=why))

    def declare_crashed(self, run_id: UUID | str, why: str) -> None:
        """Say that a run died without a word, so that nobody waits for it; one that has ended stays as it ended."""
        self._end(run_id, Crashed(message=why))

    def declare_all_crashed(self, why: str, spare: Set[str]) -> None:
        """Say of every run that a worker has taken, except those ids, that it died."""
        for run in self._taken(WATCH_INBOX, SPOT_POOL, PROCESS_BATCH):
            if str(run.id) not in spare:
                self.declare_crashed(run.id, why)

    def declare_taken_down(self) -> None:
        """Say that the stack was taken down on purpose: a batch goes on later, everything else is over."""
        for run in self._taken(WATCH_INBOX, SPOT_POOL):
            self.cancel(run.id, "the stack was taken down")
        for run in self._taken(PROCESS_BATCH):
            self.declare_crashed(run.id, "the stack was taken down; the batch goes on when it is up again")

    def _taken(self, *deployments: str) -> list[FlowRun]:
        """The living runs that a worker has taken."""
        living = (run for deployment in deployments for run in self.living(deployment))
        return [run for run in living if run.state_type is not StateType.SCHEDULED]

    def _create_for(self, batch: str, name: str, **more: Any) -> UUID:
        return self._create(PROCESS_BATCH, parameters={"batch": batch}, name=name, tags=[f"batch:{batch}"], **more)

    def _create(self, deployment: str, **more: Any) -> UUID:
        with self._server() as client:
            return client.create_flow_run_from_deployment(client.read_deployment_by_name(deployment).id, **more).id

    def _end(self, run_id: UUID | str, state: State[Any]) -> None:
        run = self.find(run_id)
        if run is not None and run.state_type in LIVING:
            with self._server() as client, suppress(ObjectNotFound):  # deleted meanwhile
                client.set_flow_run_state(run.id, state, force=True)

    @contextmanager
    def _server(self) -> Iterator[SyncPrefectClient]:
        try:
            with SyncPrefectClient(self.api) as client:
                yield client
        except ObjectNotFound as error:
            raise ServerUnreachable(
                f"the Prefect server at {self.api} has lost what is needed, a deployment for instance ({error}): "
                "`spotlift up` registers it again"
            ) from error
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            raise ServerUnreachable(
                f"the Prefect server at {self.api} does not answer as it should ({error}): "
                "`spotlift up` mends it, `spotlift doctor` says more"
            ) from error


def _of(deployment: str) -> Any:
    """The filters for the runs of a deployment, given as "flow/deployment"; one that does not exist has no runs."""
    flow, _, name = deployment.partition("/")
    return {
        "flow_filter": FlowFilter(name=FlowFilterName(any_=[flow])),
        "deployment_filter": DeploymentFilter(name=DeploymentFilterName(any_=[name])),
    }


def _can_run(client: SyncPrefectClient, deployment: str) -> bool:
    try:
        return client.read_deployment_by_name(deployment).work_pool_name is not None
    except ObjectNotFound:
        return False


def since(run: FlowRun) -> datetime | None:
    """Since when the run has been in its present state."""
    return run.state.timestamp if run.state else None
