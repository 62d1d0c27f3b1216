"""The ledger remembers: what arrived, what is being done, what became of it, and which machines it took.

Each verb is one short transaction that moves rows along the legal moves of `infra.states` and writes the
diary in the same breath. Verbs that change something may be repeated: what is done already is left alone.
`now` is always given, aware of its time zone.
"""

from infra.records.attempts import AttemptVerbs
from infra.records.batches import BatchVerbs
from infra.records.database import Database
from infra.records.leases import LeaseVerbs
from infra.records.pool import LifeVerbs, MachineVerbs
from infra.records.reading import ReadingVerbs
from infra.records.registry import RegistryVerbs


class Ledger(BatchVerbs, RegistryVerbs, AttemptVerbs, LifeVerbs, MachineVerbs, LeaseVerbs, ReadingVerbs):
    """The ledger at a database address: `sqlite:////path/ledger.db` or `postgresql+psycopg://…`.

    Opening it touches no database yet. Threads may share one; each process opens its own.
    """

    def __init__(self, url: str) -> None:
        """Raise `LedgerUnreachable` when the address is none, or of another kind of database."""
        super().__init__(Database(url))

    @property
    def name(self) -> str:
        """The address for people: without its password."""
        return self._database.name

    def migrate(self) -> None:
        """Create or update the tables; many processes may do so at once.

        Raises `LedgerTooNew` when a later version of the program wrote them, and `LedgerUnreachable`.
        """
        from infra.records.schema import migrate  # Alembic takes half a second to import, and few commands need it

        migrate(self._database)

    def close(self) -> None:
        """Close the idle connections."""
        self._database.close()
