#!/usr/bin/env python3
"""Runs the demonstration's tasks on a local installation and prints the score of each kind.

    demo.py [--maestro BINARY] [--tasks FILE]

`make demo` builds and fetches what this needs. Each task's truth stays here: it is compared after
the answer is back. A wrong answer is counted; only what fails to run makes the exit status 1.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "scripts"))

from grading import is_right  # noqa: E402
from local_maestro import Failed, default_binary, installation, print_table, run_task  # noqa: E402


class Score:
    """Tallies of one kind of task."""

    def __init__(self) -> None:
        self.tasks = 0
        self.right = 0
        self.failed = 0
        self.latency_ms = 0.0
        self.steps = 0

    def row(self, kind: str) -> list[str]:
        ran = max(1, self.tasks - self.failed)
        return [
            kind,
            f"{self.right} of {self.tasks}",
            str(self.failed),
            f"{self.steps / ran:.1f}",
            f"{self.latency_ms / ran / 1000:.2f} s",
        ]


def run_all(binary: Path, tasks: list[dict]) -> dict[str, Score]:
    scores: dict[str, Score] = defaultdict(Score)
    with installation(binary) as endpoint:
        print(f"maestro serves on {endpoint}\n", flush=True)
        for number, task in enumerate(tasks, 1):
            print(f"[{number}/{len(tasks)}] {task['kind']}: {task['question']}", flush=True)
            score = scores[task["kind"]]
            score.tasks += 1
            images = [FOLDER / image for image in task["images"]]
            try:
                result = run_task(
                    binary, endpoint, task["question"], images, task["answer_kind"], show_steps=True
                )
            except Failed as failure:
                score.failed += 1
                print(f"    FAILED: {failure}\n", flush=True)
                continue
            right = is_right(task["answer_kind"], result.answer, task["answer"])
            score.right += right
            score.steps += len(result.steps)
            score.latency_ms += result.latency_ms
            verdict = "right" if right else f"wrong, it is {task['answer']}"
            print(f"    answer: {result.answer} ({verdict})\n", flush=True)
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maestro", type=Path, default=default_binary())
    parser.add_argument("--tasks", type=Path, default=FOLDER / "tasks.jsonl")
    args = parser.parse_args()
    tasks = [json.loads(line) for line in args.tasks.read_text("utf-8").splitlines()]
    try:
        scores = run_all(args.maestro, tasks)
    except (Failed, OSError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    header = ["kind", "right", "failed", "steps", "time"]
    print_table(header, [score.row(kind) for kind, score in scores.items()])
    return 1 if any(score.failed for score in scores.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
