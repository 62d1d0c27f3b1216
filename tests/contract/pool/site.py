"""A state folder with an emulated cloud and a ledger that can be cut off, and no Prefect server: for keepers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flows.leases import KEEPER, KeptLease
from flows.pool import live
from infra.machines.cloud import Cloud
from infra.pool.hub import Hub
from infra.pool.plan import PoolPlan
from infra.processes import marked
from infra.records import Ledger
from infra.records.tables import Life
from infra.settings import Settings
from infra.stack import stop_work
from infra.states import LifeState, SourceKind
from tests.contract.pool.conftest import now
from tests.emulated import Emulator, emulator
from tests.waiting import eventually

NOBODY_LISTENS = 1
SOON = 0.3
LONG = 600.0


@dataclass
class Site:
    """Where a keeper is at work."""

    root: Path
    cloud: Emulator
    idle_window: float = SOON
    said: list[str] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "ledger").mkdir()
        self.ledger = Ledger(str(self.settings.ledger_url))
        self.ledger.migrate()

    @property
    def settings(self) -> Settings:
        return Settings(
            state=self.root / "state",
            ledger=f"sqlite:///{self.root}/ledger/ledger.db",
            port=NOBODY_LISTENS,
            emulator_port=int(self.cloud.url.rpartition(":")[2]),
            machines=1,
            machine_threads=1,
            model="fast",
            idle_window=self.idle_window,
        )

    def keep(self, holder: str, seconds: float = 30.0) -> str:
        """Be the keeper of the pool to the end; what it says about that."""
        lease = self.lease = KeptLease(self.ledger, KEEPER, holder, seconds, self.said.append)
        assert lease.still_ours(now())
        settings = self.settings
        return live(
            settings,
            PoolPlan.of(settings),
            self.ledger,
            lease,
            self.said.append,
            self.show,
            lambda name, subject, *_: self.told.append((name, subject)),
        )

    def show(self, key: str, _: str, text: str) -> bool:
        self.shown.append((key, text))
        return True

    def lease_until(self) -> datetime:
        """Until when the pool has a keeper."""
        lease = self.ledger.lease(KEEPER)
        assert lease is not None
        return lease.until

    def batch_arrives(self) -> None:
        """Work for which a machine is rented, although nobody does it here."""
        batch = self.ledger.take(
            "one", kind=SourceKind.FOLDER, source="one", fingerprint="1", model="fast", scale=2, now=now()
        )
        assert batch is not None

    def batch_is_cancelled(self) -> None:
        batch = self.ledger.batch("one")
        self.ledger.ask_cancel(batch.id, now())
        self.ledger.cancelled(batch.id, now())

    def opened(self) -> Life:
        """The life, once it is open."""

        def found() -> Life | None:
            life = self.ledger.current_life()
            return life if life is not None and life.state is LifeState.OPEN else None

        life: Life = eventually("a life is open", found)
        return life

    def rented(self) -> Life:
        """The life, once the cloud runs a machine of it."""
        life = self.opened()
        eventually("a machine runs", lambda: "RUNNING" in self.statuses())
        return life

    def statuses(self) -> list[str]:
        return [str(it["status"]) for it in self.cloud.remote.machines()]

    def cut_off(self) -> None:
        """From now on nobody reaches the ledger."""
        (self.root / "ledger").rename(self.root / "out-of-reach")
        self.ledger.close()

    def reconnect(self) -> None:
        (self.root / "out-of-reach").rename(self.root / "ledger")

    def hub(self, life: Life) -> Hub:
        return Hub(self.settings, self.ledger.life(life.id))

    def processes(self) -> list[int]:
        return marked(str(self.settings.state))

    def client(self) -> Cloud:
        return Cloud.at(self.settings.project, self.cloud.url)


@contextmanager
def site_in(root: Path, *, processes: bool = False) -> Iterator[Site]:
    """A site in that folder; its cloud runs real machines only with `processes`."""
    with emulator(root / "cloud", processes=processes) as cloud:
        site = Site(root, cloud)
        try:
            yield site
        finally:
            stop_work(site.settings)
