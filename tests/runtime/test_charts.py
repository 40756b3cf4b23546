"""Curves as SVG: every point within the picture, whatever the numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from xlm_runtime.report.charts import Line, chart

CURVES = {
    "falling": [(step, 3 / step) for step in range(1, 30)],
    "one point": [(7, 0.5)],
    "constant": [(1, 0.0), (2, 0.0)],
    "huge": [(1, 1e300), (2, -1e300)],
    "tiny": [(1, 1e-30), (2, 2e-30)],
    "many": [(step, step % 17) for step in range(5000)],
}


@pytest.mark.parametrize("name", CURVES)
def test_every_point_is_within_the_picture(name: str) -> None:
    made = chart("<loss>", [Line("train & val", 0, False, CURVES[name]), Line("empty", 1, True, [])])
    assert [line.label for line in made.lines] == ["train & val"]
    root = ET.fromstring(made.svg)  # well-formed, so escaped
    assert "<loss>" in root.attrib["aria-label"] and "train & val" in root.attrib["aria-label"]
    (points,) = re.findall(r'points="([^"]+)"', made.svg)
    places = [tuple(map(float, pair.split(","))) for pair in points.split()]
    assert len(places) <= 402
    assert all(0 <= x <= 360 and 0 <= y <= 220 for x, y in places)
    assert len(root.findall("text")) >= 2


def test_the_last_point_is_kept_when_a_curve_is_thinned() -> None:
    made = chart("loss", [Line("train", 0, False, [(step, 0.0 if step < 4999 else 9.0) for step in range(5000)])])
    (points,) = re.findall(r'points="([^"]+)"', made.svg)
    assert points.split()[-1] == "350.0,10.0"
