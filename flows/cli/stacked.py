"""What the commands about batches and machines share: a stack's settings, ledger and cloud, and whether anybody looks
after it."""

from pathlib import Path

from flows.cli.talk import UserError
from infra import stack
from infra.brought_up import as_brought_up
from infra.machines.errors import CloudUnreachable
from infra.machines.spec import Listing
from infra.records import Ledger
from infra.settings import Settings, read_settings

ANSWERS_WITHIN = 4.0
"""Seconds that somebody at a terminal waits for the cloud; a keeper has more patience."""


def settings_of(state: Path | None) -> Settings:
    """The settings; where a stack was brought up with another cloud or ledger, that is the one to look at."""
    return as_brought_up(read_settings(state=state))


def has_ledger(settings: Settings) -> bool:
    """Whether there is one already, as far as can be told without asking a database."""
    return settings.ledger is not None or (settings.state / "ledger.db").exists()


def ledger_of(settings: Settings) -> Ledger:
    """The ledger of a stack that exists. Raises UserError."""
    if not has_ledger(settings):
        raise UserError(f"there is no stack in {settings.state}: `spotlift up` makes one, or name another with --state")
    return Ledger(settings.ledger_url)


def unless_up(settings: Settings) -> str:
    """What to do when nobody is watching the inbox."""
    return "" if all(stack.state_of(settings).values()) else " once the stack is up: `spotlift up`"


def listing_of(settings: Settings) -> Listing:
    """The machines that the cloud lists of the pool. Raises CloudError with a sentence for people, and soon."""
    from infra.machines.calls import Calls  # Google's client takes a second to import, and few commands need it
    from infra.machines.cloud import Cloud
    from infra.machines.patience import Patience

    patience = Patience(total=ANSWERS_WITHIN, request=ANSWERS_WITHIN)
    at = stack.endpoint(settings)
    if at is not None and not stack.state_of(settings)[stack.EMULATOR]:
        raise CloudUnreachable("the emulator does not run; `spotlift up` starts it")
    try:
        return Cloud.at(settings.project, at, Calls(patience)).listing(settings.pool)
    except CloudUnreachable as error:
        if at is None:
            raise CloudUnreachable("Compute Engine does not answer: is this computer online? Ask again") from error
        log = settings.logs / f"{stack.EMULATOR}.log"
        raise CloudUnreachable(
            f"the emulator runs, but does not answer at {at}: see {log}; `spotlift down`, `spotlift up` mend it"
        ) from error
