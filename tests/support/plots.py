"""Curves over time as an SVG picture, one panel below the other; and how steep they are."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, GAP = 900, 130, 90, 40


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Give the rise per unit of time of the straight line that fits best (least squares)."""
    count = len(times)
    middle, level = sum(times) / count, sum(values) / count
    spread = sum((t - middle) ** 2 for t in times)
    pairs = zip(times, values, strict=True)
    return sum((t - middle) * (v - level) for t, v in pairs) / spread if spread else 0.0


def picture(title: str, times: Sequence[float], curves: Mapping[str, Sequence[float]]) -> str:
    """Give the picture; times in minutes, from the first to the last."""
    height = GAP + len(curves) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(curves.items()):
        parts += _panel(GAP + number * (HEIGHT + GAP), name, times, values)
    return "\n".join([*parts, "</svg>\n"])


def _panel(top: int, name: str, times: Sequence[float], values: Sequence[float]) -> list[str]:
    most, end = max([*values, 1.0]) * 1.1, max(times[-1], 1e-9)
    right, bottom = WIDTH - 20, top + HEIGHT
    points = " ".join(
        f"{LEFT + (right - LEFT) * t / end:.1f},{bottom - HEIGHT * v / most:.1f}"
        for t, v in zip(times, values, strict=True)
    )
    frame = f"M{LEFT} {top}V{bottom}H{right}"
    return [
        f'<text x="{LEFT}" y="{top - 5}" font-weight="bold">{escape(name)}</text>',
        f'<path d="{frame}" fill="none" stroke="#888"/>',
        f'<polyline points="{points}" fill="none" stroke="#0a58ca" stroke-width="1.5"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{right}" y="{bottom + 15}" text-anchor="end">{end:.1f} min</text>',
    ]
