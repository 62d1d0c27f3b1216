"""Read and write image files through libvips, in rows from top to bottom, so that no picture need fit into
memory."""

from workers.codec.canvas import Canvas
from workers.codec.orientation import Upright, must_be_turned
from workers.codec.picture import Animation, Colour, Metadata, Picture, Pixels, Source
from workers.codec.preview import save_preview
from workers.codec.reading import open_image, page_numbers
from workers.codec.saving import must_be_big, save
from workers.codec.sizes import check_output, check_pages
from workers.codec.sniff import sniff
from workers.codec.stapling import Stapler

__all__ = [
    "Animation",
    "Canvas",
    "Colour",
    "Metadata",
    "Picture",
    "Pixels",
    "Source",
    "Stapler",
    "Upright",
    "check_output",
    "check_pages",
    "must_be_big",
    "must_be_turned",
    "open_image",
    "page_numbers",
    "save",
    "save_preview",
    "sniff",
]
