"""Read and write image files through libvips, in rows from top to bottom, so that no picture need fit into
memory."""

from workers.codec.canvas import Canvas
from workers.codec.orientation import Upright, must_be_turned
from workers.codec.picture import Colour, Metadata, Picture, Pixels
from workers.codec.preview import save_preview
from workers.codec.reading import Source, open_image
from workers.codec.saving import save
from workers.codec.sizes import check_output
from workers.codec.sniff import sniff

__all__ = [
    "Canvas",
    "Colour",
    "Metadata",
    "Picture",
    "Pixels",
    "Source",
    "Upright",
    "check_output",
    "must_be_turned",
    "open_image",
    "save",
    "save_preview",
    "sniff",
]
