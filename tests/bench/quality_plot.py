"""Quality against speed as a drawing, made here: it is small, and a library for plots would be a large dependency."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tests.bench.quality_peers import Kind
from tests.bench.quality_run import Result

#: Colours that people of every colour vision tell apart (Okabe and Ito 2008); the shapes say the same.
COLOURS = {Kind.OURS: "#0072B2", Kind.NET: "#D55E00", Kind.FILTER: "#666666"}
WIDTH, HEIGHT, LEFT, TOP, BETWEEN, BOTTOM = 400, 320, 62, 64, 76, 58
TEXT = 11


@dataclass(frozen=True)
class Box:
    """Where something is drawn already, so that no label is put there."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share any place."""
        beside = self.right <= other.left or other.right <= self.left
        above = self.bottom <= other.top or other.bottom <= self.top
        return not beside and not above

    def holds(self, other: "Box") -> bool:
        """Whether the other is wholly inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Panel:
    """One set of pictures: speed to the right, in steps of a factor, quality upwards."""

    name: str
    left: float
    slowest: float
    fastest: float
    worst: int
    best: int

    def x(self, speed: float) -> float:
        """Pixels from the drawing's left."""
        return self.left + WIDTH * math.log(speed / self.slowest) / math.log(self.fastest / self.slowest)

    def y(self, psnr: float) -> float:
        """Pixels from the drawing's top."""
        return TOP + HEIGHT * (self.best - psnr) / (self.best - self.worst)


def drawing(results: Sequence[Result], scale: int, sets: Sequence[str] = ("Set5", "Art10")) -> str:
    """An SVG with one panel for each set, of those results that have this scale."""
    shown = [result for result in results if result.clean and result.scale == scale]
    width = LEFT + len(sets) * WIDTH + (len(sets) - 1) * BETWEEN + 20
    title = f"Quality against speed, ×{scale}, two processors"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + BOTTOM}" '
        f'font-family="sans-serif" font-size="{TEXT}" fill="#222">',
        f"<title>{title}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{title}</text>',
        *_legend(width),
    ]
    for number, name in enumerate(sets):
        panel = _panel(name, LEFT + number * (WIDTH + BETWEEN), shown)
        parts += [*_axes(panel), *_points(panel, shown)]
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, left: float, shown: Sequence[Result]) -> Panel:
    speeds, qualities = [each.speed for each in shown], [each.clean[name].psnr for each in shown]
    worst, best = math.floor(min(qualities) - 0.3), math.ceil(max(qualities) + 0.3)
    return Panel(name, left, min(speeds) / 1.6, max(speeds) * 1.6, worst, best)


def _axes(panel: Panel) -> Iterator[str]:
    right, bottom = panel.left + WIDTH, TOP + HEIGHT
    yield f'<text x="{panel.left}" y="{TOP - 8}" font-weight="bold">{panel.name}</text>'
    for decibels in range(panel.worst, panel.best + 1):
        y = panel.y(decibels)
        yield f'<path d="M{panel.left} {y:.1f}H{right}" stroke="#ddd"/>'
        yield f'<text x="{panel.left - 6}" y="{y + 4:.1f}" text-anchor="end">{decibels}</text>'
    for speed in (step * 10**power for power in range(-3, 5) for step in (1, 2, 5)):
        if panel.slowest <= speed <= panel.fastest:
            x = panel.x(speed)
            yield f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#ddd"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{speed:g}</text>'
    yield f'<rect x="{panel.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>'
    middle = f"{panel.left - 40} {TOP + HEIGHT / 2}"
    yield f'<text transform="translate({middle}) rotate(-90)" text-anchor="middle">luma PSNR in dB</text>'
    told = "megapixels of output per second, from 640×360"
    yield f'<text x="{panel.left + WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">{told}</text>'


def _points(panel: Panel, shown: Sequence[Result]) -> Iterator[str]:
    places = [(result, panel.x(result.speed), panel.y(result.clean[panel.name].psnr)) for result in shown]
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for _, x, y in places]
    for result, x, y in places:
        yield _mark(result.kind, x, y)
    for result, x, y in places:
        label = _room(panel, result.name, x, y, taken)
        taken.append(label)
        weight = ' font-weight="bold"' if result.kind is Kind.OURS else ""
        text = f'<text x="{label.left:.1f}" y="{label.bottom - 3:.1f}" fill="{COLOURS[result.kind]}"{weight}>'
        yield f"{text}{escape(result.name)}</text>"


def _room(panel: Panel, text: str, x: float, y: float, taken: Sequence[Box]) -> Box:
    """Beside, above or below the point: where nothing else is, or to the right if that is nowhere."""
    width, height = len(text) * TEXT * 0.62, TEXT + 3
    corners = [
        (x + side, y - height / 2 + shift)
        for shift in (0.0, -9.0, 9.0, -16.0, 16.0, -24.0, 24.0, -32.0, 32.0)
        for side in (9.0, -9.0 - width, -width / 2)
    ]
    boxes = [Box(left, top, left + width, top + height) for left, top in corners]
    frame = Box(panel.left, TOP, panel.left + WIDTH, TOP + HEIGHT)
    free = (box for box in boxes if frame.holds(box) and not any(box.meets(other) for other in taken))
    return next(free, boxes[0])


def _mark(kind: Kind, x: float, y: float) -> str:
    shapes = {
        Kind.OURS: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5"',
        Kind.NET: f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"',
        Kind.FILTER: f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 10h-11z"',
    }
    return f'{shapes[kind]} fill="{COLOURS[kind]}" stroke="white"/>'


def _legend(width: float) -> Iterator[str]:
    for kind, from_right in zip(Kind, (250, 190, 90), strict=True):
        x = width - from_right
        yield _mark(kind, x, 18)
        yield f'<text x="{x + 10}" y="22">{kind}</text>'
