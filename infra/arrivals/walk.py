"""Goes through a stranger's folder without following a link, however deep it is."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the relative name and the stat of everything below a folder; links as links, in no order.

    What vanishes meanwhile is left out; a folder that may not be read raises PermissionError.
    """
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(folder / above) as entries:
                for entry in entries:
                    name = above + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/")
                    yield name, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
