"""The leases by which our runs show that they live: their names, and for how long one sign of life is good."""

from typing import Final

WATCHER: Final = "watcher"
KEEPER: Final = "pool-keeper"

WATCHER_SECONDS: Final = 10.0
KEEPER_SECONDS: Final = 30.0
BATCH_SECONDS: Final = 20.0


def of_batch(batch_id: int) -> str:
    """The lease that the living run of a batch holds."""
    return f"batch-{batch_id}"
