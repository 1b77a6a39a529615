"""A drawing board with smooth edges, and the geometry that the answers are known from."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Drawn this many times larger and reduced, which smooths the edges.
OVERSAMPLING = 4
# Colours of a saved picture: a drawing's own and their mixtures along edges.
COLOURS = 64

Point = tuple[float, float]


class Sheet:
    """A drawing board, white unless told otherwise, whose coordinates are final pixels."""

    def __init__(self, width: int, height: int, paper: str = "white") -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), paper)
        self.draw = ImageDraw.Draw(self.image)

    @staticmethod
    def scaled(values: Sequence[float]) -> list[float]:
        return [value * OVERSAMPLING for value in values]

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        scaled = [tuple(self.scaled(point)) for point in points]
        self.draw.line(scaled, fill=colour, width=round(width * OVERSAMPLING), joint="curve")

    def circle(self, x: float, y: float, radius: float, **style) -> None:
        self.ellipse((x - radius, y - radius, x + radius, y + radius), **style)

    def ellipse(self, box: tuple[float, float, float, float], **style) -> None:
        if "width" in style:
            style["width"] = round(style["width"] * OVERSAMPLING)
        self.draw.ellipse(self.scaled(box), **style)

    def rectangle(self, box: tuple[float, float, float, float], **style) -> None:
        if "width" in style:
            style["width"] = round(style["width"] * OVERSAMPLING)
        self.draw.rectangle(self.scaled(box), **style)

    def square(self, x: float, y: float, side: float, colour: str, width: float) -> None:
        self.rectangle((x, y, x + side, y + side), outline=colour, width=width)

    def polygon(self, corners: Sequence[Point], colour: str, width: float) -> None:
        """A closed outline; its first side is drawn twice, so that the first corner is joined."""
        self.line([*corners, *corners[:2]], colour, width)

    def text(self, at: Point, text: str, font: Path, size: float, colour: str, anchor: str) -> None:
        face = ImageFont.truetype(str(font), round(size * OVERSAMPLING))
        self.draw.text(tuple(self.scaled(at)), text, font=face, fill=colour, anchor=anchor)

    def text_box(
        self, at: Point, text: str, font: Path, size: float, anchor: str
    ) -> tuple[float, float, float, float]:
        """Where the ink of a text would be: left, top, right, bottom."""
        face = ImageFont.truetype(str(font), round(size * OVERSAMPLING))
        box = self.draw.textbbox(tuple(self.scaled(at)), text, font=face, anchor=anchor)
        left, top, right, bottom = (value / OVERSAMPLING for value in box)
        return left, top, right, bottom

    def finished(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)

    def save(self, path: Path) -> None:
        reduced = self.finished().quantize(COLOURS, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)


def _side(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def crossings(first: Sequence[Point], second: Sequence[Point]) -> int:
    """How many pairs of segments of two polylines properly cross."""
    return sum(
        _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0
        for a, b in itertools.pairwise(first)
        for c, d in itertools.pairwise(second)
    )
