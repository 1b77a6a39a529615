"""Drawings whose answer is a measurement: crossings, grids, squares, circles, pentagons, marks."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from drawing.sheet import Point, Sheet, crossings

from . import fonts, routes
from .diagram_wordings import (
    CROSSINGS,
    GRIDS,
    MARKED_LETTERS,
    NESTED_SQUARES,
    OVERLAPPING,
    TOUCHING,
    counting,
)
from .tasks import Output, Random, Task, chance, pick, split_of, whole, worded

COUNT = 45

COLOURS = {
    "red": "#d32020",
    "blue": "#1f45d8",
    "green": "#178a35",
    "orange": "#f08a10",
    "purple": "#7a1fa2",
    "teal": "#0d8c8c",
    "brown": "#7b4a21",
    "black": "#101010",
    "pink": "#e858a8",
    "grey": "#808080",
}
PAPERS = ["white", "white", "white", "#f5efe0", "#eaf2f8", "#f3f3f3"]
WORDS = (
    "harvest lantern meadow pebble quarry ribbon saddle timber umbrella velvet walnut yonder "
    "blanket cinnamon dolphin emerald feather gravity horizon island jasmine kitchen lullaby "
    "mountain nutmeg orchard penguin quilt raspberry sunflower thunder Vienna window Zephyr "
    "Almond Basket Candle Dragon Engine Falcon Garden Hammer Jigsaw Kettle Ladder Magnet"
).split()


@dataclass(frozen=True)
class Drawing:
    """A picture with the question that it answers."""

    sheet: Sheet
    wordings: list[str]
    kind: str
    truth: str


def sheet(random: Random, least: int = 260, most: int = 820) -> Sheet:
    width = whole(random, least, most)
    height = round(width * float(random.uniform(0.75, 1.25)))
    return Sheet(width, height, pick(random, PAPERS))


def stroke(board: Sheet, random: Random) -> float:
    """A width for lines that suits the size of the board."""
    return max(1.5, min(board.size) * float(random.uniform(0.004, 0.014)))


def two_colours(random: Random) -> tuple[str, str]:
    names = list(COLOURS)
    first, second = random.permutation(len(names))[:2]
    return names[first], names[second]


def distance_to_path(point: Point, path: list[Point]) -> float:
    return min(distance_to_segment(point, a, b) for a, b in itertools.pairwise(path))


def distance_to_segment(point: Point, a: Point, b: Point) -> float:
    along = (b[0] - a[0], b[1] - a[1])
    squared = along[0] ** 2 + along[1] ** 2
    share = ((point[0] - a[0]) * along[0] + (point[1] - a[1]) * along[1]) / squared
    share = min(1.0, max(0.0, share))
    return math.dist(point, (a[0] + share * along[0], a[1] + share * along[1]))


def path_across(board: Sheet, random: Random, corners: int) -> list[Point]:
    """A path from the left to the right of the board."""
    width, height = board.size
    places = [0.05 + 0.9 * place / (corners + 1) for place in range(corners + 2)]
    return [(width * x, height * float(random.uniform(0.07, 0.93))) for x in places]


def crossing_lines(random: Random) -> Drawing:
    board = sheet(random)
    width = stroke(board, random)
    while True:
        first = path_across(board, random, whole(random, 1, 3))
        second = path_across(board, random, whole(random, 1, 3))
        # Where an end or a corner nearly meets the other line, the answer is a matter of taste.
        nearest = min(
            *(distance_to_path(point, second) for point in first),
            *(distance_to_path(point, first) for point in second),
        )
        if nearest > 2.0 * width + 4.0:
            break
    names = two_colours(random)
    for name, path in zip(names, (first, second), strict=True):
        board.line(path, COLOURS[name], width)
    wordings = [text.format(first=names[0], second=names[1]) for text in CROSSINGS]
    return Drawing(board, wordings, "integer", str(crossings(first, second)))


def grid(random: Random) -> Drawing:
    board = sheet(random, 320)
    width = max(1.5, stroke(board, random) * 0.7)
    rows, columns = whole(random, 2, 10), whole(random, 2, 10)
    margin = float(random.uniform(0.04, 0.12))
    left, top = margin * board.size[0], margin * board.size[1]
    across = (board.size[0] - 2 * left) / columns
    down = (board.size[1] - 2 * top) / rows
    colour = COLOURS[pick(random, list(COLOURS))]
    if chance(random, 0.4):
        write_cells(board, random, (left, top), (across, down), (rows, columns))
    for row in range(rows + 1):
        y = top + row * down
        ends = [(left - width / 2, y), (left + columns * across + width / 2, y)]
        board.line(ends, colour, width)
    for column in range(columns + 1):
        x = left + column * across
        board.line([(x, top), (x, top + rows * down)], colour, width)
    return Drawing(board, GRIDS, "short_text", f"{rows},{columns}")


def write_cells(
    board: Sheet, random: Random, corner: Point, cell: tuple[float, float], counts: tuple[int, int]
) -> None:
    """Numbers or letters in most of the cells."""
    size = min(cell[1] * 0.4, cell[0] * 0.25)
    if size < 5:
        return
    for row, column in itertools.product(range(counts[0]), range(counts[1])):
        if chance(random, 0.85):
            text = str(whole(random, 1, 99)) if chance(random, 0.7) else pick(random, "ABCDEFG")
            at = (corner[0] + (column + 0.5) * cell[0], corner[1] + (row + 0.5) * cell[1])
            board.text(at, text, fonts.SANS[0], size, "#202020", "mm")


def nested_squares(random: Random) -> Drawing:
    board = sheet(random)
    width = stroke(board, random)
    gap = 2.0 * width + 4.0
    side = min(board.size) * float(random.uniform(0.6, 0.85))
    turn = float(random.uniform(-0.35, 0.35)) if chance(random, 0.25) else 0.0
    if turn:
        side *= 0.75
    centre = (board.size[0] / 2, board.size[1] / 2)
    colour = COLOURS[pick(random, list(COLOURS))]
    wanted, count = whole(random, 2, 8), 0
    while count < wanted and side > 6.0 * width + 14.0:
        board.polygon(regular(4, centre, side / math.sqrt(2), turn + math.pi / 4), colour, width)
        count += 1
        inner = min(side * float(random.uniform(0.6, 0.86)), side - 2.0 * gap)
        room = 0.0 if turn else max(0.0, (side - inner) / 2.0 - gap)
        shift = (float(random.uniform(-room, room)), float(random.uniform(-room, room)))
        centre = (centre[0] + shift[0], centre[1] + shift[1])
        side = inner
    return Drawing(board, NESTED_SQUARES, "integer", str(count))


def regular(sides: int, centre: Point, radius: float, turn: float) -> list[Point]:
    angles = [turn + 2.0 * math.pi * corner / sides for corner in range(sides)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def circle_pair(random: Random) -> Drawing:
    """Two circles that overlap clearly, just touch (never asked for overlap), or lie apart."""
    board = sheet(random)
    asks_contact = chance(random, 0.5)
    filled = chance(random, 0.5)
    width = 0.0 if filled else stroke(board, random)
    side = min(board.size)
    first = side * float(random.uniform(0.12, 0.21))
    second = first * float(random.uniform(0.65, 1.0))
    near = chance(random, 0.5)
    if near and asks_contact and chance(random, 0.3):
        gap = -width
    elif near:
        gap = -3.0 * width - second * float(random.uniform(0.08, 0.7))
    else:
        gap = 3.0 + side * float(random.uniform(0.0, 0.12))
    direction = float(random.uniform(0.0, 2.0 * math.pi))
    distance = first + second + gap
    offset = (math.cos(direction) * distance / 2, math.sin(direction) * distance / 2)
    middle = (board.size[0] / 2, board.size[1] / 2)
    names = two_colours(random)
    for name, radius, sign in zip(names, (first, second), (-1, 1), strict=True):
        at = (middle[0] + sign * offset[0], middle[1] + sign * offset[1])
        colour = COLOURS[name]
        style = {"fill": colour} if filled else {"outline": colour, "width": width}
        board.circle(*at, radius, **style)
    wordings = TOUCHING if asks_contact else OVERLAPPING
    return Drawing(board, wordings, "yes_no", "Yes" if near else "No")


def counted_shapes(random: Random) -> Drawing:
    """Circles or pentagons in two staggered rows, apart or overlapping."""
    board = sheet(random, 380)
    width = stroke(board, random) * 0.8
    pentagons = chance(random, 0.4)
    count = whole(random, 3, 9)
    columns = math.ceil(count / 2)
    pitch = 0.84 * board.size[0] / (columns + 0.6)
    radius = min(pitch * float(random.uniform(0.34, 0.56)), min(board.size) * 0.2)
    left = board.size[0] / 2 - pitch * (columns - 0.5) / 2
    top = board.size[1] / 2 - radius * float(random.uniform(0.5, 1.1))
    turn = -math.pi / 2 if chance(random, 0.6) else float(random.uniform(0.0, 2.0 * math.pi))
    one = pick(random, list(COLOURS))
    many = chance(random, 0.5)
    for place in range(count):
        column, row = divmod(place, 2)
        drop = radius * float(random.uniform(1.0, 1.1)) if row else 0.0
        at = (left + pitch * (column + 0.5 * row), top + 1.2 * drop)
        colour = COLOURS[pick(random, list(COLOURS)) if many else one]
        if pentagons:
            board.polygon(regular(5, at, radius, turn), colour, width)
        else:
            board.circle(*at, radius, outline=colour, width=width)
    wordings = counting("pentagons") if pentagons else counting("circles")
    return Drawing(board, wordings, "integer", str(count))


def marked_letter(random: Random) -> Drawing:
    word = pick(random, WORDS)
    font = pick(random, [fonts.SANS, fonts.SERIF, fonts.MONO, fonts.CONDENSED])
    face = font[1] if chance(random, 0.3) else font[0]
    size = whole(random, 32, 64)
    spacing = size * float(random.uniform(0.06, 0.3))
    board = Sheet(10, 10)
    boxes, x = [], 0.0
    for letter in word:
        # The advance alone would let two letters of an italic or a wide face touch.
        box = board.text_box((x, 0.0), letter, face, size, "ls")
        boxes.append(box)
        x = box[2] + spacing
    margin = size * float(random.uniform(0.8, 1.6))
    origin = (margin - boxes[0][0], margin + size)
    board = Sheet(round(x + 2 * margin), round(size * 1.4 + 2 * margin), pick(random, PAPERS))
    starts = [0.0, *(box[2] + spacing for box in boxes[:-1])]
    names = two_colours(random)
    for letter, start in zip(word, starts, strict=True):
        at = (origin[0] + start, origin[1])
        board.text(at, letter, face, size, COLOURS[names[0]], "ls")
    place = whole(random, 0, len(word) - 1)
    left, top, right, bottom = boxes[place]
    grow = (0.5 * spacing + size * 0.06, size * 0.12)
    # An ellipse must be wider than its letter to go around its corners.
    rectangle = chance(random, 0.25)
    reach = 1.0 if rectangle else 1.3
    middle = (origin[0] + (left + right) / 2, origin[1] + (top + bottom) / 2)
    half = ((right - left) / 2 * reach + grow[0], (bottom - top) / 2 * reach + grow[1])
    box = (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])
    style = {"outline": COLOURS[names[1]], "width": max(2.0, size * 0.05)}
    (board.rectangle if rectangle else board.ellipse)(box, **style)
    return Drawing(board, MARKED_LETTERS, "short_text", word[place])


def route_map(random: Random) -> Drawing:
    # Names are black: lines are not.
    colours = [code for name, code in COLOURS.items() if name not in ("black", "grey")]
    drawn = routes.route_map(random, colours)
    return Drawing(drawn.sheet, drawn.wordings, "integer", str(drawn.count))


FAMILIES: dict[str, Callable[[Random], Drawing]] = {
    "line-crossings": crossing_lines,
    "grid-size": grid,
    "nested-squares": nested_squares,
    "circle-pairs": circle_pair,
    "shape-counts": counted_shapes,
    "marked-letters": marked_letter,
    "coloured-routes": route_map,
}


def diagram(output: Output, domain: str, index: int) -> Task:
    name = f"{domain}-{index:03}"
    random = output.random(name)
    drawing = FAMILIES[domain](random)
    image, path = output.image(f"{name}.png")
    drawing.sheet.save(path)
    split = split_of(index)
    return Task(
        id=name,
        split=split,
        domain=domain,
        question=worded(random, drawing.wordings, split),
        images=[image],
        answer_kind={"kind": drawing.kind},
        truth=drawing.truth,
    )


def generate(output: Output) -> list[Task]:
    return [
        diagram(output, domain, index)
        for domain in FAMILIES
        for index in range(output.count(COUNT))
    ]
