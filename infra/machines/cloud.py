"""Compute Engine, as far as the pool needs it, through the official client: the only module that imports it.

The client's operations are never awaited with `insert().result()`: that polls through another client, which forgets the
endpoint of the first. Here `*_unary` calls return at once, and `outcome` or `wait` ask for the operation by name.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Self, TypeVar

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError

from infra.machines.calls import Calls, understand
from infra.machines.client import compute_v1
from infra.machines.complaints import Complaint, Place, translate
from infra.machines.errors import AlreadyThere, CloudUnreachable, NotThere, RateLimited, Refused
from infra.machines.orders import instance_of
from infra.machines.spec import (
    POOL_LABEL,
    Departure,
    Gpu,
    Instance,
    Listing,
    MachineSpec,
    Operation,
    Order,
    Outcome,
)

CONSOLE_TAIL: Final = 4096
"""Bytes of a machine's console that are worth reading."""
_PAGE: Final = 500
_LONGEST_WAIT: Final = 120.0
"""Seconds that the API holds back the answer to `wait` at most."""
_BETWEEN_WAITS: Final = 0.25
_UNREACHABLE: Final = "UNREACHABLE"
_INCOMPLETE: Final = (_UNREACHABLE, "PARTIAL_SUCCESS")

_PREEMPTED: Final = "compute.instances.preempted"
_REASONS: Final = {
    _PREEMPTED: Departure.PREEMPTED,
    "compute.instances.terminateOnHostMaintenance": Departure.PREEMPTED,
    "compute.instances.deferredDelete": Departure.TIME_LIMIT,
    "compute.instances.deferredStop": Departure.TIME_LIMIT,
    "compute.instances.guestTerminate": Departure.STOPPED_ITSELF,
    "delete": Departure.DELETED,
    "stop": Departure.DELETED,
}
"""Types of operations that end a machine. The first one tells why: a deletion follows each of the others."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Clients:
    """Made once and shared by all threads: they hold a connection pool each, and change nothing of themselves."""

    instances: compute_v1.InstancesClient
    operations: compute_v1.ZoneOperationsClient
    machine_types: compute_v1.MachineTypesClient
    accelerator_types: compute_v1.AcceleratorTypesClient


class Cloud:
    """The machines of one project. Safe to use from several threads. Every method raises CloudError."""

    def __init__(self, project: str, clients: _Clients, calls: Calls) -> None:
        self.project = project
        self._clients = clients
        self._calls = calls
        self._bundled: dict[tuple[str, str], Gpu | None] = {}

    @classmethod
    def at(cls, project: str, endpoint: str | None = None, calls: Calls | None = None) -> Self:
        """The cloud of a project: Google's, as whoever is logged in, or an emulator at `http://HOST:PORT`."""
        options: dict[str, Any] = {}
        if endpoint is not None:
            nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
            options = {"credentials": nobody, "client_options": {"api_endpoint": endpoint.rstrip("/")}}
        try:
            clients = _Clients(
                compute_v1.InstancesClient(**options),
                compute_v1.ZoneOperationsClient(**options),
                compute_v1.MachineTypesClient(**options),
                compute_v1.AcceleratorTypesClient(**options),
            )
        except GoogleAuthError as error:
            raise understand(error, Place(project), changes=False) from error
        return cls(project, clients, calls or Calls())

    def close(self) -> None:
        """Let go of all connections."""
        for client in vars(self._clients).values():
            client.transport.close()

    def rent(self, spec: MachineSpec, order: Order) -> Operation:
        """Ask for one machine.

        Raises Unclear when it may have been carried out nevertheless, and AlreadyThere, which is Unclear as well, when
        there is a machine of that name: look for it, or ask again with the same `request_id`. That a zone has none, or
        that no more are allowed, is usually told by the operation only.
        """
        request = compute_v1.InsertInstanceRequest(
            project=self.project,
            zone=order.zone,
            request_id=order.request_id,
            instance_resource=compute_v1.Instance(instance_of(spec, order, self.project)),
        )
        try:
            operation = self._change(self._clients.instances.insert_unary, request, order.zone)
        except NotThere as error:
            raise Refused(f"The order names something that does not exist. {error}") from error
        return Operation(operation.name, order.zone)

    def outcome(self, operation: Operation) -> Outcome:
        """How far an operation has come. Raises NotThere when the cloud has forgotten it, after some days."""
        request = compute_v1.GetZoneOperationRequest(
            project=self.project, zone=operation.zone, operation=operation.name
        )
        return outcome_of(
            self._read(self._clients.operations.get, request, operation.zone), self._place(operation.zone)
        )

    def wait(self, operation: Operation, deadline_seconds: float) -> Outcome:
        """Its outcome as soon as it is done, or after `deadline_seconds` whatever there is."""
        calls, until = self._calls, self._calls.clock() + deadline_seconds
        request = compute_v1.WaitZoneOperationRequest(
            project=self.project, zone=operation.zone, operation=operation.name
        )
        outcome = Outcome(done=False)
        while not outcome.done and (left := until - calls.clock()) > 0:
            patience = min(left, _LONGEST_WAIT + calls.patience.request)
            try:
                answer = calls.once(
                    partial(self._clients.operations.wait, request, retry=None, timeout=patience),
                    self._place(operation.zone),
                )
                outcome = outcome_of(answer, self._place(operation.zone))
            except (CloudUnreachable, RateLimited):
                pass  # no answer within the time that is left, or a hiccup: as good as "not yet"
            if not outcome.done:
                # The API may answer too early, when it is busy.
                calls.sleep(min(_BETWEEN_WAITS, max(0.0, until - calls.clock())))
        return outcome

    def listing(self, pool: str) -> Listing:
        """All machines that carry the label of the pool, in all zones, and the zones that did not answer."""
        request = compute_v1.AggregatedListInstancesRequest(
            project=self.project, filter=f"labels.{POOL_LABEL}={pool}", max_results=_PAGE
        )
        instances: dict[str, Instance] = {}
        silent: set[str] = set()
        while True:
            page = self._page(request)
            silent.update(silent_zones(page))
            for scope in page.items.values():
                # Compared here once more: what is in the listing may be deleted as ours.
                found = (_instance(message) for message in scope.instances)
                instances.update((it.name, it) for it in found if it.labels.get(POOL_LABEL) == pool)
            if not page.next_page_token:
                return Listing(instances, frozenset(silent))
            request.page_token = page.next_page_token

    def instance(self, name: str, zone: str) -> Instance | None:
        """One machine; None: there is none of that name."""
        request = compute_v1.GetInstanceRequest(project=self.project, zone=zone, instance=name)
        try:
            return _instance(compute_v1.Instance.pb(self._read(self._clients.instances.get, request, zone)))
        except NotThere:
            return None

    def give_back(self, name: str, zone: str, request_id: str | None = None) -> Operation | None:
        """Delete a machine; None: it is gone already. Raises Unclear when it may be on its way."""
        request = compute_v1.DeleteInstanceRequest(
            project=self.project, zone=zone, instance=name, request_id=request_id
        )
        try:
            operation = self._change(self._clients.instances.delete_unary, request, zone)
        except NotThere:
            return None
        return Operation(operation.name, zone)

    def why_gone(self, name: str, zone: str) -> Departure:
        """Why a machine went away, as the operations of its zone tell."""
        target = f"/zones/{zone}/instances/{name}"
        request = compute_v1.ListZoneOperationsRequest(
            project=self.project, zone=zone, filter=f'targetLink eq ".*{target}"', max_results=_PAGE
        )
        operations: list[compute_v1.Operation] = []
        while True:
            page = next(iter(self._read(self._clients.operations.list, request, zone).pages))
            operations += [it for it in page.items if it.target_link.endswith(target)]
            if not page.next_page_token:
                return departure_of(operations)
            request.page_token = page.next_page_token

    def console(self, name: str, zone: str) -> str:
        """The last lines on the serial console of a machine, empty when there are none."""
        request = compute_v1.GetSerialPortOutputInstanceRequest(
            project=self.project, zone=zone, instance=name, port=1, start=-CONSOLE_TAIL
        )
        try:
            output = self._read(self._clients.instances.get_serial_port_output, request, zone)
        except NotThere:
            return ""
        return output.contents[-CONSOLE_TAIL:]

    def gpus_of(self, machine_type: str, zone: str) -> Gpu | None:
        """The GPUs that a machine type brings with it, None when it brings none. Asked for once."""
        if (machine_type, zone) not in self._bundled:
            request = compute_v1.GetMachineTypeRequest(project=self.project, zone=zone, machine_type=machine_type)
            gpus = self._read(self._clients.machine_types.get, request, zone).accelerators
            self._bundled[machine_type, zone] = (
                Gpu(gpus[0].guest_accelerator_type, gpus[0].guest_accelerator_count) if gpus else None
            )
        return self._bundled[machine_type, zone]

    def zones_with(self, spec: MachineSpec) -> tuple[str, ...]:
        """The zones, in order, that offer the machine type and the GPU at all, in stock or not."""
        machine_types = compute_v1.AggregatedListMachineTypesRequest(
            project=self.project, filter=f"name={spec.machine_type}", max_results=_PAGE
        )
        zones = self._zones(self._clients.machine_types.aggregated_list, machine_types, "machine_types")
        if spec.gpu is not None:
            gpus = compute_v1.AggregatedListAcceleratorTypesRequest(
                project=self.project, filter=f"name={spec.gpu.type}", max_results=_PAGE
            )
            zones &= self._zones(self._clients.accelerator_types.aggregated_list, gpus, "accelerator_types")
        return tuple(sorted(zones))

    def preempt(self, name: str, zone: str) -> Operation:
        """Take a spot machine away, as the cloud would: to see what happens."""
        request = compute_v1.SimulateMaintenanceEventInstanceRequest(project=self.project, zone=zone, instance=name)
        operation = self._change(self._clients.instances.simulate_maintenance_event_unary, request, zone)
        return Operation(operation.name, zone)

    def _place(self, zone: str = "") -> Place:
        return Place(self.project, zone)

    def _read(self, method: Callable[..., Answer], request: object, zone: str = "") -> Answer:
        return self._calls.read(
            lambda: method(request, retry=None, timeout=self._calls.patience.request), self._place(zone)
        )

    def _change(self, method: Callable[..., Answer], request: object, zone: str) -> Answer:
        return self._calls.change(
            lambda: method(request, retry=None, timeout=self._calls.patience.request), self._place(zone)
        )

    def _page(self, request: compute_v1.AggregatedListInstancesRequest) -> Any:
        """One page of the listing, as the plain message: its wrapper takes several times as long to look into."""
        pager = self._read(self._clients.instances.aggregated_list, request)
        return compute_v1.InstanceAggregatedList.pb(next(iter(pager.pages)))

    def _zones(self, method: Callable[..., Any], request: Any, field: str) -> set[str]:
        zones: set[str] = set()
        while True:
            page = next(iter(self._read(method, request).pages))
            zones.update(_last(scope) for scope, it in page.items.items() if getattr(it, field))
            if not page.next_page_token:
                return zones
            request.page_token = page.next_page_token


def outcome_of(operation: compute_v1.Operation, place: Place) -> Outcome:
    """How far it has come. That what it was to make is there already is no failure."""
    if operation.status != compute_v1.Operation.Status.DONE:
        return Outcome(done=False)
    if operation.error.errors:
        trouble = translate(_complaint(operation.error.errors[0]), place)
    elif operation.http_error_status_code >= 400:
        trouble = translate(Complaint((str(operation.http_error_status_code),), operation.http_error_message), place)
    else:
        return Outcome(done=True)
    return Outcome(done=True, error=None if isinstance(trouble, AlreadyThere) else trouble)


def departure_of(operations: Iterable[compute_v1.Operation]) -> Departure:
    """Why a machine went away, if these are all operations on it.

    One that heard that it is preempted may have shut itself down before the cloud did.
    """
    ends = [it for it in operations if it.operation_type in _REASONS and not it.error.errors]
    if any(it.operation_type == _PREEMPTED for it in ends):
        return Departure.PREEMPTED
    first = min(ends, key=lambda it: datetime.fromisoformat(it.insert_time), default=None)
    return Departure.UNKNOWN if first is None else _REASONS[first.operation_type]


def _complaint(error: compute_v1.types.Errors) -> Complaint:
    """What one error inside an operation says."""
    codes = [error.code]
    details: dict[str, str] = {}
    for detail in error.error_details:
        if detail.error_info.reason:
            codes.append(detail.error_info.reason)
            details |= dict(detail.error_info.metadatas)
        if detail.quota_info.metric_name:
            quota = detail.quota_info
            details |= {**quota.dimensions, "metricName": quota.metric_name, "limit": f"{quota.limit:g}"}
    return Complaint(tuple(codes), error.message, details)


def _instance(message: Any) -> Instance:
    return Instance(message.name, _last(message.zone), message.status, dict(message.labels), message.creation_timestamp)


def silent_zones(page: Any) -> Iterable[str]:
    """The zones that say nothing on this page of a listing, a plain message. There are three ways to say so.

    Raises CloudUnreachable when something is missing and nobody says of which zone.
    """
    yield from map(_last, page.unreachables)
    for scope, content in page.items.items():
        if content.warning.code == _UNREACHABLE:
            yield _last(scope)
    if page.warning.code in _INCOMPLETE:
        named = [_last(it.value) for it in page.warning.data if it.key in ("scope", "zone")]
        if not named and not page.unreachables:
            raise CloudUnreachable(f"The listing of machines is not complete: {page.warning.message}")
        yield from named


def _last(path: str) -> str:
    """`us-central1-a` of `https://…/zones/us-central1-a`."""
    return path.rpartition("/")[2]
