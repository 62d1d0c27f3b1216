"""The manifest: what became of every image of a batch, for programs."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from infra.report.lines import BatchLine, ImageLine, Story

MANIFEST_SCHEMA: Final = 1
"""Raised when a key changes its meaning or goes; a new key alone does not raise it."""


def manifest(story: Story) -> dict[str, Any]:
    """Return the manifest as JSON values. Times are ISO 8601 in UTC, sizes pixels and bytes, durations seconds."""
    return {
        "schema": MANIFEST_SCHEMA,
        "batch": _batch(story.batch)
        | {
            "seconds": story.batch.seconds,
            "machine_seconds": round(story.machine_seconds, 3),
            "megapixels_in": round(story.megapixels_in, 6),
            "megapixels_out": round(story.megapixels_out, 6),
            "counts": {"TOTAL": len(story.images)} | {str(state): n for state, n in story.counts.items()},
        },
        "images": [_image(image) for image in story.images],
        "attempts": [asdict(attempt) for attempt in story.attempts],
        "ignored": [asdict(ignored) for ignored in story.ignored],
    }


def manifest_json(story: Story) -> bytes:
    """Return the manifest as it is published: UTF-8, readable, the same bytes for the same story."""
    return (json.dumps(manifest(story), ensure_ascii=False, indent=1) + "\n").encode()


def _batch(batch: BatchLine) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(batch).items()}


def _image(image: ImageLine) -> dict[str, Any]:
    line = asdict(image)
    line["notes"] = list(image.notes)
    return line
