"""Arithmetic in invented stories: templates whose numbers, people and things are drawn.

A template is a group of its own, so that validation has stories that training never sees.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .tasks import Output, Random, Task, pick, split_of, whole

DOMAIN = "word-problems"
COUNT = 150
# Besides, so many whose kind of answer is left open, as `maestro run` does if nothing is said.
OPEN_COUNT = 50

NAMES = (
    "Amara Bastian Clelia Dmitri Esme Farouk Greta Hamish Ingrid Jovan Keziah Leopold Marisol "
    "Nikolai Odette Priya Quentin Rosalind Sven Tamsin Ulrich Violeta Wanda Xavier Yusuf Zelda"
).split()
THINGS = (
    "marbles shells postcards buttons stamps walnuts candles lemons tulips beads acorns pebbles "
    "cupcakes badges coins magnets ribbons whistles peaches kites"
).split()


@dataclass(frozen=True)
class Template:
    """A story with the ranges of its numbers and its answer.

    `numbers` makes a, b and c fit the story: divisible, or the larger one first.
    """

    story: str
    numbers: Callable[[Random], tuple[int, int, int]]
    answer: Callable[[int, int, int], int]


def free(*ranges: tuple[int, int]) -> Callable[[Random], tuple[int, int, int]]:
    """Numbers that are independent of each other."""

    def draw(random: Random) -> tuple[int, int, int]:
        drawn = [whole(random, low, high) for low, high in ranges]
        a, b, c = (drawn + [0, 0])[:3]
        return a, b, c

    return draw


def falling(random: Random) -> tuple[int, int, int]:
    """a is more than b and c together."""
    b, c = whole(random, 4, 40), whole(random, 3, 30)
    return b + c + whole(random, 5, 60), b, c


def divisible(random: Random) -> tuple[int, int, int]:
    """a is a multiple of b; c is small."""
    b = whole(random, 3, 12)
    return b * whole(random, 4, 20), b, whole(random, 2, 9)


def shared_sum(random: Random) -> tuple[int, int, int]:
    """a and b together are a multiple of c."""
    a, c = whole(random, 15, 60), whole(random, 3, 9)
    together = c * (a // c + whole(random, 3, 12))
    return a, together - a, c


def fair_share(random: Random) -> tuple[int, int, int]:
    """a is a multiple of b; c is less than the quotient."""
    b, share = whole(random, 3, 9), whole(random, 5, 18)
    return b * share, b, whole(random, 1, share - 1)


def rest_divisible(random: Random) -> tuple[int, int, int]:
    """a less b is a multiple of c."""
    b, c = whole(random, 3, 25), whole(random, 2, 9)
    return b + c * whole(random, 4, 15), b, c


TEMPLATES = [
    Template(
        "{name} has {a} {thing} and gets {b} more from {other}. How many {thing} does {name} "
        "own then?",
        free((12, 90), (5, 60)),
        lambda a, b, c: a + b,
    ),
    Template(
        "Out of {a} {thing} in a drawer, {name} hands {b} to {other}. How many remain in the "
        "drawer?",
        falling,
        lambda a, b, c: a - b,
    ),
    Template(
        "A crate takes {b} {thing}. {name} fills {a} crates. How many {thing} are packed?",
        free((3, 15), (6, 25)),
        lambda a, b, c: a * b,
    ),
    Template(
        "{name} arranges {a} {thing} in {b} equal rows. How many stand in a row?",
        divisible,
        lambda a, b, c: a // b,
    ),
    Template(
        "{name} collected {a} {thing}, {other} {b}. By how many is {name} ahead?",
        falling,
        lambda a, b, c: a - b,
    ),
    Template(
        "A bus sets off with {a} people. {b} step out at the harbour and {c} at the mill. How "
        "many are still on it?",
        falling,
        lambda a, b, c: a - b - c,
    ),
    Template(
        "Each of {a} shelves holds {b} jars, and {c} jars stand on the floor. How many jars are"
        " there?",
        free((3, 12), (6, 20), (2, 15)),
        lambda a, b, c: a * b + c,
    ),
    Template(
        "{name} buys {a} notebooks at {b} crowns each and pays {c} crowns for a pen. What does "
        "it all cost in crowns?",
        free((2, 9), (3, 14), (2, 12)),
        lambda a, b, c: a * b + c,
    ),
    Template(
        "{name} put {a} {thing} into {b} bags evenly and then added {c} to every bag. How many "
        "are in a bag now?",
        divisible,
        lambda a, b, c: a // b + c,
    ),
    Template(
        "A rope of {a} metres loses {b} metres at its worn end. The rest is cut into {c} pieces"
        " of one length. How long is a piece in metres?",
        rest_divisible,
        lambda a, b, c: (a - b) // c,
    ),
    Template(
        "{name} reads {a} pages a day. After {b} days, how many pages has {name} read?",
        free((8, 40), (4, 21)),
        lambda a, b, c: a * b,
    ),
    Template(
        "A book has {a} pages. {name} has got through {b}. How many pages lie ahead?",
        falling,
        lambda a, b, c: a - b,
    ),
    Template(
        "There were {a} ducks on the pond; {b} flew off, then {c} others landed. How many ducks"
        " swim there?",
        falling,
        lambda a, b, c: a - b + c,
    ),
    Template(
        "{name} earns {a} crowns an hour and works {b} hours. {c} crowns go to the tram. How "
        "many crowns are kept?",
        free((9, 25), (3, 9), (3, 12)),
        lambda a, b, c: a * b - c,
    ),
    Template(
        "In the morning {a} visitors came to the museum and in the afternoon {b}. How many came"
        " that day?",
        free((40, 400), (40, 400)),
        lambda a, b, c: a + b,
    ),
    Template(
        "A baker shapes {a} rolls and burns {b}. The good ones are split fairly among {c} "
        "cafes. How many rolls reach each?",
        rest_divisible,
        lambda a, b, c: (a - b) // c,
    ),
    Template(
        "{name} is {a} years old and {other} is {b} years older. How old is {other}?",
        free((6, 40), (2, 25)),
        lambda a, b, c: a + b,
    ),
    Template(
        "A cyclist covers {a} km on each of {b} days and {c} km on the last one. How long was "
        "the tour in km?",
        free((25, 70), (2, 7), (10, 60)),
        lambda a, b, c: a * b + c,
    ),
    Template(
        "{a} children and {b} adults go by boat. A boat seats {c}, and all are full. How many "
        "boats set out?",
        shared_sum,
        lambda a, b, c: (a + b) // c,
    ),
    Template(
        "A tank contains {a} litres. A farmer draws {b} buckets of {c} litres. How many litres "
        "stay in the tank?",
        free((200, 400), (4, 12), (8, 15)),
        lambda a, b, c: a - b * c,
    ),
    Template(
        "{name} sold {a} {thing} on Friday and {b} times as many on Saturday. How many did "
        "{name} sell on Saturday?",
        free((6, 30), (2, 6)),
        lambda a, b, c: a * b,
    ),
    Template(
        "One ticket is {a} crowns; {name} orders {b}. The group coupon takes {c} crowns off. "
        "What is the price in crowns?",
        free((6, 20), (3, 9), (4, 15)),
        lambda a, b, c: a * b - c,
    ),
    Template(
        "A gardener plants {a} bulbs in {b} beds, the same in every bed. How many bulbs does "
        "one bed get?",
        divisible,
        lambda a, b, c: a // b,
    ),
    Template(
        "{name} weighed {a} kg of plums, {b} kg of pears and {c} kg of figs. What is their "
        "weight together in kg?",
        free((3, 40), (3, 40), (3, 40)),
        lambda a, b, c: a + b + c,
    ),
    Template(
        "The theatre has {a} seats, {b} of them taken by the school and {c} by the club. How "
        "many seats are free?",
        falling,
        lambda a, b, c: a - b - c,
    ),
    Template(
        "A film begins {a} minutes after the doors open and lasts {b} minutes. How many minutes"
        " after opening does it end?",
        free((10, 45), (70, 150)),
        lambda a, b, c: a + b,
    ),
    Template(
        "{name} needs {a} {thing} for a garland and has {b} so far. How many are missing?",
        falling,
        lambda a, b, c: a - b,
    ),
    Template(
        "From {a} metres of cloth a tailor makes coats of {b} metres each. How many coats is "
        "the cloth good for?",
        divisible,
        lambda a, b, c: a // b,
    ),
    Template(
        "{name} walks {a} steps to the well and back again, {b} times a day. How many steps is "
        "that a day?",
        free((40, 200), (2, 6)),
        lambda a, b, c: 2 * a * b,
    ),
    Template(
        "Before lunch {name} picked {a} {thing}, after lunch {b}. {c} of them were given to "
        "{other}. How many does {name} keep?",
        free((25, 60), (20, 50), (5, 30)),
        lambda a, b, c: a + b - c,
    ),
    Template(
        "A florist ties {a} bunches of {b} tulips and has {c} tulips over. With how many tulips"
        " did the florist begin?",
        free((4, 14), (5, 12), (1, 4)),
        lambda a, b, c: a * b + c,
    ),
    Template(
        "{name} saved {a} crowns. A lamp costs {b} crowns and a mat {c}. How many crowns are "
        "left after both are bought?",
        falling,
        lambda a, b, c: a - b - c,
    ),
    Template(
        "{a} teams of {b} players meet, with {c} referees. How many people is that?",
        free((3, 12), (5, 11), (2, 9)),
        lambda a, b, c: a * b + c,
    ),
    Template(
        "{other} baked {a} pies and {name} baked {b} fewer. How many pies did {name} bake?",
        falling,
        lambda a, b, c: a - b,
    ),
    Template(
        "{name} and {other} divide {a} {thing} with others, {b} people in all, everybody alike."
        " {name} then loses {c}. How many has {name} left?",
        fair_share,
        lambda a, b, c: a // b - c,
    ),
]


def problem(output: Output, index: int, series: str, kind: str) -> Task:
    place = index % len(TEMPLATES)
    template = TEMPLATES[place]
    name = f"{series}-{index:03}"
    random = output.random(name)
    a, b, c = template.numbers(random)
    people = random.permutation(len(NAMES))
    story = template.story.format(
        name=NAMES[people[0]], other=NAMES[people[1]], thing=pick(random, THINGS), a=a, b=b, c=c
    )
    return Task(
        id=name,
        split=split_of(place),
        domain=DOMAIN,
        group=f"story-{place:02}",
        question=story,
        answer_kind={"kind": kind},
        truth=str(template.answer(a, b, c)),
    )


def generate(output: Output) -> list[Task]:
    tasks = [
        problem(output, index, series, kind)
        for series, kind, count in (
            ("problem", "number", COUNT),
            ("open-problem", "free_text", OPEN_COUNT),
        )
        for index in range(output.count(count))
    ]
    # The same template may draw the same story again.
    unique = {task.question: task for task in tasks}
    return list(unique.values())
