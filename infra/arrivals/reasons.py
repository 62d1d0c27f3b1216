"""Why a batch is refused: one word for programs, one sentence for people."""

from enum import StrEnum

from infra.states import BatchEnd


class ArrivalReason(StrEnum):
    """Why something that lies in the inbox cannot be taken as a batch."""

    BAD_NAME = "BAD_NAME"  # the batch's own name would make trouble in paths, links or terminals
    UNREADABLE = "UNREADABLE"  # it is gone, or reading it is forbidden
    LINK = "LINK"  # it is a link, or holds one
    DAMAGED = "DAMAGED"  # not a zip, cut short, or its contents fail their checksums
    ENCRYPTED = "ENCRYPTED"  # the zip asks for a password
    UNSUPPORTED = "UNSUPPORTED"  # the zip is packed with a method that is not unpacked here
    UNSAFE_NAME = "UNSAFE_NAME"  # a name in the zip would lead out of the batch, or cannot be a file's name
    DUPLICATE = "DUPLICATE"  # two names in the zip would be the same file
    TOO_LARGE = "TOO_LARGE"  # more files, bytes or compression than a batch of images has: a zip bomb
    BAD_WISH = "BAD_WISH"  # batch.toml cannot be read or asks for something that does not exist
    EMPTY = "EMPTY"  # there is no image in it


class ArrivalError(Exception):
    """This batch cannot be taken, now or later; the message says what is wrong and what to do."""

    def __init__(self, reason: ArrivalReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def end(self) -> BatchEnd:
        """How the ledger calls a batch that ended like this."""
        return _ENDS.get(self.reason, BatchEnd.UNREADABLE)


class WishError(ArrivalError):
    """The batch.toml of a batch cannot be granted."""

    def __init__(self, message: str) -> None:
        super().__init__(ArrivalReason.BAD_WISH, message)

    def __reduce__(self) -> tuple[type["WishError"], tuple[str]]:
        return type(self), (self.message,)


_ENDS = {ArrivalReason.BAD_WISH: BatchEnd.BAD_WISH, ArrivalReason.EMPTY: BatchEnd.EMPTY}
