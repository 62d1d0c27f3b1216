"""What the commands about batches share: the ledger of a stack, and whether anybody looks after it."""

from flows.cli.talk import UserError
from infra import stack
from infra.records import Ledger
from infra.settings import Settings


def ledger_of(settings: Settings) -> Ledger:
    """The ledger of a stack that exists. Raises UserError."""
    if settings.ledger is None and not (settings.state / "ledger.db").exists():
        raise UserError(f"there is no stack in {settings.state}: `spotlift up` makes one, or name another with --state")
    return Ledger(settings.ledger_url)


def unless_up(settings: Settings) -> str:
    """What to do when nobody is watching the inbox."""
    return "" if all(stack.state_of(settings).values()) else " once the stack is up: `spotlift up`"
