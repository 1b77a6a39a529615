#!/usr/bin/env python3
"""Generates tasks with known answers from a seed: what the shipped policy is trained on.

    generate_tasks.py OUTPUT [--seed N] [--size 1.0]

Writes OUTPUT/tasks.jsonl and OUTPUT/images/. Shops, drawings, stories, questions and signs are all
invented here, so what is recorded and learned from them is free of others' rights. Photographs of
real objects cannot be drawn; counting in photographs is therefore no part of it.

A line of tasks.jsonl:

    {"id", "split": "train" or "val", "domain", "group"?, "question", "images": ["images/x.png"],
     "answer_kind": {"kind": "integer"}, "truth", "aliases": []}

Tasks of a group (the questions about one receipt, the stories of one template) are of one split,
and validation asks in wordings that training never does. The same seed writes the same bytes, given
the same versions of Pillow and NumPy (scripts/generation/requirements.txt) and of the DejaVu fonts.
"""

import argparse
import collections
import sys
from pathlib import Path

from generation import choices, diagrams, plain, problems, receipts, signs
from generation.tasks import Output, Task

SEED = 20262
GENERATORS = (receipts, diagrams, problems, choices, plain, signs)


def check(tasks: list[Task]) -> None:
    """Ids are unique, and no group is divided between the splits."""
    ids = collections.Counter(task.id for task in tasks)
    assert max(ids.values()) == 1, ids.most_common(1)
    splits = collections.defaultdict(set)
    for task in tasks:
        splits[task.group or task.id].add(task.split)
    assert all(len(found) == 1 for found in splits.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--size", type=float, default=1.0, help="1.0 gives about 1,100 tasks")
    args = parser.parse_args()
    output = Output(args.output, args.seed, args.size)
    (output.folder / "images").mkdir(parents=True, exist_ok=True)
    tasks = [task for generator in GENERATORS for task in generator.generate(output)]
    check(tasks)
    with open(output.folder / "tasks.jsonl", "w", encoding="utf-8") as lines:
        for task in tasks:
            lines.write(task.line() + "\n")
    counts = collections.Counter((task.domain, task.split) for task in tasks)
    for (domain, split), count in sorted(counts.items()):
        print(f"{domain:16} {split:6} {count:4}")
    print(f"{len(tasks)} tasks in {output.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
