"""Brings the ledger in step after every process of a local stack was ended from outside."""

from datetime import UTC, datetime

from infra.records import Ledger
from infra.states import LifeEnd, MachineEnd, MachineState


def settle(ledger: Ledger) -> None:
    """Close the lives whose processes were ended. Open batches stay open: the next `up` goes on with them."""
    now = datetime.now(UTC)
    for lease in ledger.leases():
        ledger.let_go(lease.name, lease.holder)
    for life in ledger.lives(open_only=True):
        ledger.close_life(life.id, LifeEnd.ASKED, now)
        for machine in ledger.machines(life.id, open_only=True):
            ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=MachineEnd.POOL_CLOSED)
        ledger.life_is_closed(life.id, now)
