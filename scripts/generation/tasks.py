"""What a generated task is, and what its generators share."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy

TRAIN = "train"
VAL = "val"
# Every fifth unit of a domain (a picture, a receipt, a template) is for validation.
VAL_EVERY = 5

Random = numpy.random.Generator
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A question whose answer is known. `domain` and `group` never reach a policy."""

    id: str
    split: str
    domain: str
    question: str
    answer_kind: dict[str, object]
    truth: str
    images: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    group: str | None = None

    def line(self) -> str:
        content = {"id": self.id, "split": self.split, "domain": self.domain}
        if self.group is not None:
            content["group"] = self.group
        content |= {
            "question": self.question,
            "images": self.images,
            "answer_kind": self.answer_kind,
            "truth": self.truth,
            "aliases": self.aliases,
        }
        return json.dumps(content, ensure_ascii=False)


@dataclass(frozen=True)
class Output:
    """Where a run writes, how much, and from which seed."""

    folder: Path
    seed: int
    size: float

    def count(self, at_full_size: int) -> int:
        """How many of something: in proportion to the size, at least one."""
        return max(1, round(at_full_size * self.size))

    def random(self, name: str) -> Random:
        """A source of chance of its own for everything that has a name.

        So a change of one picture, or another size of the set, leaves the others as they are.
        """
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return numpy.random.default_rng(int.from_bytes(digest[:8]))

    def image(self, name: str) -> tuple[str, Path]:
        """The place of an image: as a task names it, and on disk."""
        relative = f"images/{name}"
        return relative, self.folder / relative


def split_of(index: int) -> str:
    return VAL if index % VAL_EVERY == VAL_EVERY - 1 else TRAIN


def pick(random: Random, choices: Sequence[T]) -> T:
    return choices[int(random.integers(len(choices)))]


def whole(random: Random, low: int, high: int) -> int:
    """Evenly distributed from `low` to `high`, both included."""
    return int(random.integers(low, high + 1))


def chance(random: Random, probability: float) -> bool:
    return float(random.random()) < probability


def worded(random: Random, wordings: Sequence[str], split: str) -> str:
    """One of the wordings; every fourth is kept for validation, which asks in no other."""
    kept = [wording for place, wording in enumerate(wordings) if (place % 4 == 3) == (split == VAL)]
    return pick(random, kept)
