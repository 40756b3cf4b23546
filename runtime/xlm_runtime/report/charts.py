"""Curves as SVG that stands in a page: no script, no picture file, colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

#: So many colours has the style; ``s0`` to ``s7``.
COLOURS = 8

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 28
#: More points than there are places on the paper make the page larger and the picture no better.
_MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """A curve: what it is called, which colour it has, whether it is dashed, its points (step, value) by step."""

    label: str
    colour: int
    dashed: bool
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Chart:
    """A picture and what its lines are."""

    title: str
    svg: Markup
    lines: list[Line]


def chart(title: str, lines: Sequence[Line]) -> Chart:
    """One panel; lines without points are left out, and at least one must have some."""
    lines = [line for line in lines if line.points]
    steps = [step for line in lines for step, _ in line.points]
    values = [value for line in lines for _, value in line.points]
    across, up = _Axis(min(steps), max(steps), _LEFT, _WIDTH - _RIGHT), _Axis(min(values), max(values), 0, 0)
    up = _Axis(up.low, up.high, _HEIGHT - _BOTTOM, _TOP)
    words = f"{title}: " + "; ".join(
        f"{line.label} from {_number(line.points[0][1])} at step {line.points[0][0]} "
        f"to {_number(line.points[-1][1])} at step {line.points[-1][0]}"
        for line in lines
    )
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, words),
        *(_grid(across, up)),
        *(_draw(line, across, up) for line in lines),
        Markup("</svg>"),
    ]
    return Chart(title, Markup("").join(parts), list(lines))


class _Axis:
    """From values to places on the paper."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high <= low:  # one value: it stands in the middle
            spread = abs(low) * 0.1 or 1.0
            low, high = low - spread, high + spread
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _grid(across: _Axis, up: _Axis) -> list[Markup]:
    lines = []
    for value in up.ticks(6):
        y = up.place(value)
        lines.append(Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(_LEFT, y, across.end, y))
        lines.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_LEFT - 6, y + 4, _number(value)))
    for value in across.ticks(4):
        if value == int(value):
            x, y = across.place(value), _HEIGHT - _BOTTOM
            lines.append(Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x, y, x, y + 4))
            lines.append(
                Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, y + 17, f"{int(value):,}")
            )
    return lines


def _draw(line: Line, across: _Axis, up: _Axis) -> Markup:
    points = _thinned(line.points)
    places = [(across.place(step), up.place(value)) for step, value in points]
    name = f"line s{line.colour % COLOURS}" + (" dashed" if line.dashed else "")
    path = Markup('<polyline class="{}" points="{}"/>').format(name, " ".join(f"{x},{y}" for x, y in places))
    if len(points) > 40:
        return path
    marks = [
        Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"><title>{}</title></circle>').format(
            name, x, y, f"{line.label}, step {step}: {_number(value)}"
        )
        for (x, y), (step, value) in zip(places, points, strict=True)
    ]
    return path + Markup("").join(marks)


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    if len(points) <= _MOST_POINTS:
        return points
    stride = math.ceil(len(points) / _MOST_POINTS)
    return [*points[:-1:stride], points[-1]]


def _number(value: float) -> str:
    return str(escape(f"{value:.4g}"))
