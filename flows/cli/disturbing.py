"""Takes a machine away in the middle of a batch, as the cloud may do at any moment, to show that nothing is lost."""

from collections import Counter
from dataclasses import dataclass

from flows.cli.talk import out
from infra import stack
from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError
from infra.records import Batch, Ledger
from infra.records.tables import Image
from infra.settings import Settings
from infra.states import ImageState, MachineState

HALF, LATE = 0.5, 0.8
"""From when on a machine is taken away that has work to hand back, and from when on any that works."""


@dataclass
class Disturbance:
    """Watches a batch, and has the machine that has most to hand back preempted when half of it is done.

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
        victim = self._machine_at_work(batch, least=1 if progress.settled > LATE * progress.images else 2)
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

    def _machine_at_work(self, batch: Batch, least: int) -> tuple[str, str] | None:
        """Name and zone of the machine in whose chunk most images are missing, `least` of them at least."""
        there = {m.name: m for m in self.ledger.machines(open_only=True) if m.state is MachineState.RUNNING and m.spot}
        images = self.ledger.images(batch.id)
        missing = Counter(image.chunk_id for image in images if image.state is ImageState.WAITING)
        done = [i for i in images if i.chunk_id in missing and i.finished_at and _machine_of(i) in there]
        newest = {image.chunk_id: image for image in sorted(done, key=lambda i: i.finished_at or batch.arrived_at)}
        chunk = max(newest, key=lambda chunk: missing[chunk], default=None)
        if chunk is None or missing[chunk] < least:
            return None
        victim = there[_machine_of(newest[chunk])]
        return victim.name, victim.zone


def _machine_of(image: Image) -> str:
    return (image.machine or "").partition(".")[0]
