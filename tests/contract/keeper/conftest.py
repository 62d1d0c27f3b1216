"""What tests of the keeper share: one kind of ledger is enough, because other tests hold both kinds to the same."""

from collections.abc import Iterator

import pytest

from infra.records import Ledger


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Ledger]:
    ledger = Ledger(sqlite_url)
    ledger.migrate()
    yield ledger
    ledger.close()
