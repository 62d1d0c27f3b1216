"""What the commands about batches share: the ledger of a stack, and whether anybody looks after it."""

from flows.cli.talk import UserError
from infra import stack
from infra.records import Ledger
from infra.settings import Settings


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
