"""Maps of coloured routes between stations, each route of one colour from end to end.

Routes run along a lattice. No two share an edge, and where they share a crossing both go straight
through it, so that the eye (and an analysis) can follow each.
"""

import heapq
from dataclasses import dataclass, field

from drawing.sheet import Point, Sheet

from . import fonts
from .diagram_wordings import ROUTES
from .tasks import Random, chance, pick, whole

Node = tuple[int, int]

# Crossings of the lattice along a side of the map.
LATTICE = 15
# Terminals of a station, side by side.
PORTS = 3
LETTERS = list("ABCDEFGHKLMNPRSTUVWXYZ")
WORDS = (
    "Elm Mill Fort Quay Dome Arch Bell Cove Dale Firth Glen Hope Kirk Lake Moor Park Reed".split()
)
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclass(frozen=True)
class Station:
    """A station at a side of the map: its terminals and where its name stands, beyond them.

    The label is a place on the lattice and Pillow's anchor of the text there.
    """

    name: str
    ports: list[Node]
    label: tuple[float, float]
    anchor: str


@dataclass(frozen=True)
class RouteMap:
    sheet: Sheet
    wordings: list[str]
    count: int


@dataclass
class Lattice:
    """Which crossings are taken, and in which direction a route goes straight through them."""

    straight: dict[Node, int | None] = field(default_factory=dict)

    def may_enter(self, node: Node) -> bool:
        """Only inside: so every route leaves its terminals at a right angle to the side."""
        return all(0 < part < LATTICE - 1 for part in node)

    def may_cross(self, node: Node, before: int, after: int) -> bool:
        """Whether a route that comes in one direction may leave in another (indices)."""
        if node not in self.straight:
            return True
        other = self.straight[node]
        return before == after and other is not None and other != before // 2

    def take(self, path: list[Node]) -> None:
        for last, node, following in zip(path, path[1:], path[2:], strict=False):
            before, after = direction(last, node), direction(node, following)
            crossed = node in self.straight
            self.straight[node] = before // 2 if before == after and not crossed else None
        for end in (path[0], path[-1]):
            self.straight[end] = None


def direction(start: Node, end: Node) -> int:
    return DIRECTIONS.index((end[0] - start[0], end[1] - start[1]))


def stations(random: Random) -> list[Station]:
    """Four stations, one a side, at a random place along it."""
    names = LETTERS if chance(random, 0.4) else WORDS
    order = random.permutation(len(names))
    found = []
    for side, anchor in enumerate(("mb", "rm", "mt", "lm")):
        first = whole(random, 2, LATTICE - PORTS - 2)
        places = [first + port for port in range(PORTS)]
        edge, outside = (0, -0.8) if side < 2 else (LATTICE - 1, LATTICE - 0.2)
        upright = side % 2 == 1
        ports = [(edge, place) if upright else (place, edge) for place in places]
        middle = first + (PORTS - 1) / 2
        label = (outside, middle) if upright else (middle, outside)
        found.append(Station(names[order[side]], ports, label, anchor))
    return found


def cheapest_path(random: Random, lattice: Lattice, start: Node, end: Node) -> list[Node] | None:
    """A path by Dijkstra (1959) with random costs, turns costing extra; `None` without one."""
    queue = [(0.0, start, -1)]
    cost = {(start, -1): 0.0}
    came: dict[tuple[Node, int], tuple[Node, int]] = {}
    while queue:
        spent, node, heading = heapq.heappop(queue)
        if node == end:
            return walked_back(came, (node, heading))
        if spent > cost[node, heading]:
            continue
        for after, step in enumerate(DIRECTIONS):
            following = (node[0] + step[0], node[1] + step[1])
            if following != end and not lattice.may_enter(following):
                continue
            if heading >= 0:
                back = after == heading ^ 1
                if back or not lattice.may_cross(node, heading, after):
                    continue
            turn = 0.8 if heading not in (-1, after) else 0.0
            total = spent + 1.0 + turn + float(random.random())
            if total < cost.get((following, after), float("inf")):
                cost[following, after] = total
                came[following, after] = (node, heading)
                heapq.heappush(queue, (total, following, after))
    return None


def walked_back(
    came: dict[tuple[Node, int], tuple[Node, int]], state: tuple[Node, int]
) -> list[Node]:
    path = [state[0]]
    while state in came:
        state = came[state]
        path.append(state[0])
    return path[::-1]


def planned(random: Random) -> tuple[list[Station], list[tuple[int, int, list[Node]]]]:
    """Stations, and routes as (one station, the other, path)."""
    places = stations(random)
    lattice = Lattice()
    free = [list(station.ports) for station in places]
    routes = []
    for _ in range(whole(random, 3, 6)):
        pair = sorted(int(place) for place in random.permutation(len(places))[:2])
        # A pair is often repeated, so that counts other than one occur.
        if routes and chance(random, 0.4):
            pair = list(pick(random, routes)[:2])
        if not all(free[place] for place in pair):
            continue
        ports = [pick(random, free[place]) for place in pair]
        path = cheapest_path(random, lattice, *ports)
        if path is None or len(set(path)) < len(path):
            continue
        lattice.take(path)
        for place, port in zip(pair, ports, strict=True):
            free[place].remove(port)
        routes.append((pair[0], pair[1], path))
    return places, routes


def asked_pair(random: Random, routes: list[tuple[int, int, list[Node]]]) -> tuple[int, int]:
    """Mostly a pair that is joined, as most pairs are not; both have some route at least."""
    if chance(random, 0.85):
        return pick(random, routes)[:2]
    served = sorted({station for route in routes for station in route[:2]})
    first, second = sorted(int(place) for place in random.permutation(len(served))[:2])
    return served[first], served[second]


def route_map(random: Random, colours: list[str]) -> RouteMap:
    places, routes = planned(random)
    side = whole(random, 420, 800)
    margin = 0.19 * side
    step = (side - 2 * margin) / (LATTICE - 1)
    board = Sheet(side, side)

    def at(place: tuple[float, float]) -> Point:
        return margin + place[0] * step, margin + place[1] * step

    width = step * float(random.uniform(0.16, 0.3))
    face = pick(random, [fonts.SANS, fonts.SERIF, fonts.MONO])[0]
    order = random.permutation(len(colours))
    for (_, _, path), colour in zip(routes, order, strict=False):
        board.line([at(node) for node in path], colours[colour], width)
    for station in places:
        size = side * (0.07 if len(station.name) == 1 else 0.045)
        board.text(at(station.label), station.name, face, size, "black", station.anchor)
    first, second = asked_pair(random, routes)
    count = sum((a, b) == (first, second) for a, b, _ in routes)
    names = (places[first].name, places[second].name)
    if chance(random, 0.5):
        names = names[::-1]
    wordings = [text.format(start=names[0], end=names[1]) for text in ROUTES]
    return RouteMap(board, wordings, count)
