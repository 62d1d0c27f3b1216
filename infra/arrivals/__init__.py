"""What people hand in: what lies in the inbox, is it complete, what does it wish, how is it opened safely.

Everything here treats a batch as the work of a stranger: it is looked at, copied and unpacked, but never run,
decoded, followed through a link, or changed.
"""

from infra.arrivals.contents import FoundImage, Ignored, Survey, find_wish, survey
from infra.arrivals.hand_in import hand_in
from infra.arrivals.inbox import Arrival, find, is_ready, look, strays
from infra.arrivals.reasons import ArrivalError, ArrivalReason, WishError
from infra.arrivals.sweeping import sweep, sweep_unpacking
from infra.arrivals.unpack import find_wish_in_zip, unpack
from infra.arrivals.unpack import inspect as inspect_zip
from infra.arrivals.wish import Wish, check_wish, read_wish, write_wish
from infra.arrivals.zip_check import UnpackLimits

__all__ = [
    "Arrival",
    "ArrivalError",
    "ArrivalReason",
    "FoundImage",
    "Ignored",
    "Survey",
    "UnpackLimits",
    "Wish",
    "WishError",
    "check_wish",
    "find",
    "find_wish",
    "find_wish_in_zip",
    "hand_in",
    "inspect_zip",
    "is_ready",
    "look",
    "read_wish",
    "strays",
    "survey",
    "sweep",
    "sweep_unpacking",
    "unpack",
    "write_wish",
]
