"""What was measured, as tables for the terminal and for docs/benchmarks.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.quality_peers import Kind
from tests.bench.quality_run import JPEG_QUALITY, JPEG_SETS, SETS, Result, Score

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


class NoPlace(Exception):
    """The page has no place for the tables; the message is a sentence."""


@dataclass(frozen=True)
class Page:
    """One table. Rows go from the weakest to the strongest on the first set."""

    title: str
    sets: Sequence[str]
    rows: Sequence[tuple[Result, dict[str, Score]]]

    @property
    def head(self) -> tuple[str, ...]:
        """What the columns hold."""
        return ("", *(f"{name}, dB / SSIM" for name in self.sets), "MP/s", "CPU s/MP", "peak MB", "computes in")

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        return [
            (
                result.name,
                *(f"{score.psnr:.2f} / {score.ssim:.4f}" for score in (scores[name] for name in self.sets)),
                f"{result.speed:.3g}",
                f"{result.cpu:.3g}",
                f"{result.megabytes:.0f}",
                result.how,
            )
            for result, scores in self.rows
        ]

    def markdown(self) -> str:
        """The same as a table in Markdown, ours in bold."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.head) + " |", "|" + " --- |" * len(self.head)]
        for cells, (result, _) in zip(self.cells(), self.rows, strict=True):
            name = f"**{cells[0]}**" if result.kind is Kind.OURS else cells[0]
            lines.append("| " + " | ".join((name, *cells[1:])) + " |")
        return "\n".join(lines)


def pages(results: Sequence[Result]) -> list[Page]:
    """A table for each scale, and one for compressed pictures; those that nothing of ours is in are left away."""
    there = [result for result in results if not result.left_out]
    tables = [
        Page(f"×{scale}", SETS, _sorted([(each, each.clean) for each in there if each.clean and each.scale == scale]))
        for scale in sorted({result.scale for result in there})
    ]
    compressed = _sorted([(result, result.jpeg) for result in there if result.jpeg])
    tables.append(Page(f"×2, from JPEGs of quality {JPEG_QUALITY}", JPEG_SETS, compressed))
    return [table for table in tables if any(result.kind is Kind.OURS for result, _ in table.rows)]


def _sorted(rows: list[tuple[Result, dict[str, Score]]]) -> list[tuple[Result, dict[str, Score]]]:
    return sorted(rows, key=lambda row: row[1][SETS[0]].psnr)


def absent(results: Sequence[Result]) -> list[str]:
    """A sentence for each contender that could not be measured."""
    return [f"{each.name} ×{each.scale} is left out: {each.left_out}." for each in results if each.left_out]


def inserted(text: str, measured: str) -> str:
    """The page with what was measured in its place; raises NoPlace when it has none."""
    if not re.search(f"{BEGIN}.*{END}", text, re.DOTALL):
        raise NoPlace(f"The page has no place for the tables: the lines '{BEGIN}' and '{END}', one after the other.")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{rest.partition(END)[2]}"
