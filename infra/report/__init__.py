"""What became of a batch, told twice from the same plain values: a manifest for programs, a page for people."""

from infra.report.lines import AttemptLine, BatchLine, IgnoredLine, ImageLine, Preview, Story
from infra.report.manifest import MANIFEST_SCHEMA, manifest, manifest_json
from infra.report.page import PREVIEWS, page

__all__ = [
    "MANIFEST_SCHEMA",
    "PREVIEWS",
    "AttemptLine",
    "BatchLine",
    "IgnoredLine",
    "ImageLine",
    "Preview",
    "Story",
    "manifest",
    "manifest_json",
    "page",
]
