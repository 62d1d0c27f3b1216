"""A batch goes on when one image cannot be enhanced: this names why, so that nobody parses an error text
back."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why an image was set aside. The values are stored in the ledger and the manifest: never rename one."""

    MISSING = "MISSING"  # there is no such file (any more)
    NO_PERMISSION = "NO_PERMISSION"  # the file is there and may not be read
    EMPTY = "EMPTY"  # a file of zero bytes
    NOT_AN_IMAGE = "NOT_AN_IMAGE"  # its first bytes belong to no image format
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"  # an image or document of a kind that is not enhanced (HEIC, SVG, PSD…)
    UNSUPPORTED_PIXELS = "UNSUPPORTED_PIXELS"  # a supported format with pixels that are not (32-bit float, Lab…)
    TRUNCATED = "TRUNCATED"  # the file ends before its picture does
    DAMAGED = "DAMAGED"  # the file contradicts itself or does not decode
    ZERO_SIZE = "ZERO_SIZE"  # the header says 0 pixels wide or high
    TOO_LARGE = "TOO_LARGE"  # more pixels than the limit, or far more than its bytes can hold
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"  # the enlarged picture does not fit into the wished format
    NO_PLACE = "NO_PLACE"  # its name, or what lies in the place of its result, lets no file be there
    KILLS_MACHINES = "KILLS_MACHINES"  # one machine after the other died while it worked on it
    UNEXPECTED = "UNEXPECTED"  # a fault of ours that concerns this image; the machine's log has the details
    UNSUPPORTED_OUTPUT = "UNSUPPORTED_OUTPUT"  # the target's name asks for a format that is not written


class Rejected(Exception):
    """This image cannot be enhanced; `message` is a sentence for the person who sent it.

    It takes exactly what it was made of, so that it survives pickling on its way back from a machine.
    """

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message
