"""Brings the cloud and the ledger in step after every process of a stack was ended from outside."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError
from infra.records import Ledger
from infra.states import LifeEnd, MachineEnd, MachineState

GONE_WITHIN = 120.0
"""Seconds that `settle` waits until the cloud lists none of our machines any more."""
ASK_AGAIN = 15.0
"""Seconds between two requests to give the same machine back."""


class StillThere(Exception):
    """Machines cost money although the stack is down; the message names them and says what to do."""


def settle(ledger: Ledger, cloud: Cloud, pool: str, say: Callable[[str], None]) -> None:
    """Give every machine of the pool back, wait until the cloud lists none, then close the lives.

    Open batches stay open: the next `up` goes on with them. Raises StillThere, and leaves the lives open then.
    """
    for lease in ledger.leases():
        ledger.let_go(lease.name, lease.holder)
    for life in ledger.lives(open_only=True):
        ledger.close_life(life.id, LifeEnd.ASKED, datetime.now(UTC))
    _clear(cloud, pool, say)
    now = datetime.now(UTC)
    for life in ledger.lives(open_only=True):
        for machine in ledger.machines(life.id, open_only=True):
            ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=MachineEnd.POOL_CLOSED)
        ledger.life_is_closed(life.id, now)


def _clear(cloud: Cloud, pool: str, say: Callable[[str], None]) -> None:
    until, asked = time.monotonic() + GONE_WITHIN, dict[str, float]()
    while True:
        left, trouble = list[str](), ""
        try:
            listing = cloud.listing(pool)
            for name, instance in listing.instances.items():
                left.append(f"{name} in {instance.zone}")
                if time.monotonic() - asked.get(name, -ASK_AGAIN) >= ASK_AGAIN:
                    asked[name] = time.monotonic()
                    cloud.give_back(name, instance.zone)
            left += [f"perhaps some in {zone}, which does not answer" for zone in sorted(listing.silent_zones)]
        except CloudError as error:
            trouble = str(error)
        if not left and not trouble:
            return
        say(f"giving back {len(left)} machines" if left else f"asking the cloud again: {trouble}")
        if time.monotonic() > until:
            names = ", ".join(left) or "it is not known which"
            raise StillThere(
                f"machines could not be given back within {GONE_WITHIN:.0f} s ({names}). {trouble} They cost money: "
                "run `spotlift down` again, or delete them in the Google Cloud console"
            )
        time.sleep(0.25)
