"""Brings the cloud and the ledger in step after every process of a stack was ended from outside.

The cloud comes first, because machines cost money and it can be asked without a ledger.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from infra.brought_up import elsewhere
from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError, Permanent
from infra.machines.spec import Instance
from infra.pool.reconcile import in_doubt
from infra.records import Ledger
from infra.records.pool import SENT
from infra.records.tables import Life
from infra.states import LifeEnd, MachineEnd, MachineState

GONE_WITHIN = 120.0
"""Seconds that `settle` waits until the cloud lists none of our machines any more."""
ASK_AGAIN = 15.0
"""Seconds between two requests to give the same machine back."""


class StillThere(Exception):
    """Machines cost money although the stack is down; the message names them and says what to do."""


def settle(
    open_ledger: Callable[[], Ledger], cloud: Cloud, here: Mapping[str, str], say: Callable[[str], None]
) -> list[str]:
    """Give every machine of the pool `here` back, wait until the cloud has none, then close the lives.

    Open batches stay open: the next `up` goes on with them. Returns a sentence for each life that was opened somewhere
    else and is left as it is, because only the cloud there can say what became of its machines. Raises StillThere, and
    leaves the lives open then; LedgerUnreachable when the machines are gone and nobody could be told.
    """
    _clear(partial(_listed, cloud, here["pool"]), cloud, say)
    ledger = open_ledger()
    for lease in ledger.leases():
        ledger.let_go(lease.name, lease.holder)
    lives = ledger.lives(open_only=True)
    away = {life.id: elsewhere(life.id, life.details, here) for life in lives}
    ours = [life for life in lives if not away[life.id]]
    for life in ours:
        ledger.close_life(life.id, LifeEnd.ASKED, datetime.now(UTC))
    _clear(partial(_known, ledger, cloud, ours), cloud, say)
    now = datetime.now(UTC)
    for life in ours:
        for machine in ledger.machines(life.id, open_only=True):
            end, reason = MachineEnd.POOL_CLOSED, "The stack was taken down."
            ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=end, reason=reason)
        ledger.life_is_closed(life.id, now)
    return [sentence for sentence in away.values() if sentence]


Found = tuple[Sequence[Instance], Sequence[str]]
"""Machines that are there, and words for what may be there besides."""


def _listed(cloud: Cloud, pool: str) -> Found:
    listing = cloud.listing(pool)
    silent = [f"perhaps some in {zone}, which does not answer" for zone in sorted(listing.silent_zones)]
    return [*listing.instances.values()], silent


def _known(ledger: Ledger, cloud: Cloud, lives: Sequence[Life]) -> Found:
    """What the ledger knows of these lives and a listing may have missed: each is asked for by its name."""
    rows = [row for life in lives for row in ledger.machines(life.id, open_only=True)]
    found = [cloud.instance(row.name, row.zone) for row in rows]
    doubtful = [row for row in rows if row.details.get(SENT) and in_doubt(row, datetime.now(UTC))]
    return [it for it in found if it], [f"perhaps {row.name}, whose order was never answered" for row in doubtful]


def _clear(look: Callable[[], Found], cloud: Cloud, say: Callable[[str], None]) -> None:
    until, asked = time.monotonic() + GONE_WITHIN, dict[str, float]()
    while True:
        left, trouble = list[str](), ""
        try:
            there, perhaps = look()
            for instance in there:
                left.append(f"{instance.name} in {instance.zone}")
                if time.monotonic() - asked.get(instance.name, -ASK_AGAIN) >= ASK_AGAIN:
                    asked[instance.name] = time.monotonic()
                    cloud.give_back(instance.name, instance.zone)
            left += perhaps
        except CloudError as error:
            trouble = str(error)
            if isinstance(error, Permanent):
                until = 0.0  # asking again is pointless
        if not left and not trouble:
            return
        say(f"giving back {len(left)} machine{'s' * (len(left) > 1)}" if left else f"asking the cloud again: {trouble}")
        if time.monotonic() > until:
            names = ", ".join(left) or "it is not known which"
            raise StillThere(
                f"not every machine could be given back ({names}). {trouble} They cost money: "
                "run `spotlift down` again, or delete them in the Google Cloud console"
            )
        time.sleep(0.25)
