"""How a bench prints what it found."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """One table; numbers to three digits."""
    table = Table(*head, title=title, title_justify="left", box=None, header_style="dim")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120).print(table)
