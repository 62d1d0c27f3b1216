"""Takes a machine away in the middle of a batch, as the cloud may do at any moment, to show that nothing is lost."""

from dataclasses import dataclass
from datetime import datetime

from flows.cli.talk import out
from infra import stack
from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError
from infra.records import Batch, Ledger
from infra.settings import Settings
from infra.states import ImageState, MachineState

HALF = 0.5


@dataclass
class Disturbance:
    """Watches a batch, and has the machine that finished an image last preempted when half of them are done.

    It asks Compute Engine to simulate a maintenance event, which preempts a spot machine: on Google and here alike.
    """

    settings: Settings
    ledger: Ledger
    happened: bool = False

    def look(self, batch: Batch | None) -> None:
        """Strike when the time has come; once."""
        if self.happened or batch is None:
            return
        progress = self.ledger.progress(batch.id)
        if not progress.images or progress.settled < HALF * progress.images or not progress.waiting:
            return
        victim = self._machine_at_work(batch)
        if victim is None:
            return
        name, zone = victim
        try:
            Cloud.at(self.settings.project, stack.endpoint(self.settings)).preempt(name, zone)
        except CloudError:  # it has just gone by itself: the next look finds another one
            return
        self.happened = True
        out.print(f"half-way: machine {name} is taken away (preempted, with notice)")

    def tell(self) -> None:
        """Say so when there was nobody to take away."""
        if not self.happened:
            out.print("The batch was done before a machine could be taken away; a larger one shows it.")

    def _machine_at_work(self, batch: Batch) -> tuple[str, str] | None:
        """Name and zone of the machine that finished an image last, if it is still there."""
        there = {m.name: m for m in self.ledger.machines(open_only=True) if m.state is MachineState.RUNNING and m.spot}
        latest: dict[str, datetime] = {}
        for image in self.ledger.images(batch.id, ImageState.DONE):
            name = (image.machine or "").partition(".")[0]
            if name in there and image.finished_at is not None:
                latest[name] = max(image.finished_at, latest.get(name, image.finished_at))
        if not latest:
            return None
        victim = there[max(latest, key=lambda name: latest[name])]
        return victim.name, victim.zone
