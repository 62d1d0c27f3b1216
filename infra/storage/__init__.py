"""Where batches, results and reports lie: one small Store, so that a folder today can be a bucket tomorrow.

Only the standard library is imported here, because a store travels to the machines as a value.
"""

from infra.storage.local import LocalStore
from infra.storage.store import (
    ABSENT,
    ANY,
    AlreadyThere,
    BadKey,
    Changed,
    Condition,
    InTheWay,
    Missing,
    Stat,
    StorageError,
    Store,
    check_key,
)

__all__ = [
    "ABSENT",
    "ANY",
    "AlreadyThere",
    "BadKey",
    "Changed",
    "Condition",
    "InTheWay",
    "LocalStore",
    "Missing",
    "Stat",
    "StorageError",
    "Store",
    "check_key",
]
