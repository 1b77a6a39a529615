#!/usr/bin/env python3
"""Scores recorded diagram and receipt tasks, asked as recorded and in other words.

    evaluate_data.py DATA_DIR [--endpoint ADDR] [--paraphrase FILE] [--n 50] [--receipts 60]

DATA_DIR holds `blindtest` and `sroie`. Beside our accuracy stand the balanced one, that of the best
constant answer, and those of the recorded models on the same tasks. The tasks are of the validation
split; where it has too few of a kind, all of them and some of the training split, which the table
says. Without `--endpoint` a local installation is started. Answers are compared here and never sent.
"""

import argparse
import contextlib
import json
import random
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from grading import is_right
from local_maestro import Failed, default_binary, installation, print_table, run_task

SEED = 20261
DIAGRAMS = (
    "LineIntersection",
    "CountingRowsAndColumns",
    "NestedSquares",
    "TouchingCircle",
    "CountingCircles",
    "CircledWord",
    "SubwayMap",
)
# Kinds of receipt tasks by the field that they ask for.
RECEIPTS = {"total": "ReceiptTotal", "date": "ReceiptDate", "company": "ReceiptCompany"}


@dataclass(frozen=True)
class Item:
    """One recorded task. `wording` names the paraphrases that ask the same."""

    name: str
    kind: str
    wording: str
    split: str
    question: str
    image: Path
    answer_kind: str
    truth: str
    # What the question names that is to be found in the image; paraphrases have places for it.
    names: dict[str, str] = field(default_factory=dict, compare=False)
    # Whether the recorded answer of each model was right.
    outcomes: dict[str, bool] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Verdict:
    item: Item
    question: str
    answer: str | None
    right: bool
    latency_ms: float
    pairs: list[str]
    failure: str | None


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def wording_of(subtask: str, prompt_id: int) -> str:
    """Its two prompts ask different things about circles, and the same about all else."""
    if subtask == "TouchingCircle":
        return f"{subtask}.{'touching' if prompt_id == 1 else 'overlapping'}"
    return subtask


def names_of(task: dict) -> dict[str, str]:
    """The two stations at the end of the task's id, as in `…-AC`."""
    if task["subtask"] == "SubwayMap":
        start, end = task["id"].rsplit("-", 1)[1]
        return {"from": start, "to": end}
    return {}


def read_items(data_dir: Path) -> list[Item]:
    items = []
    for task in read_lines(data_dir / "blindtest/tasks.jsonl"):
        if task["subtask"] in DIAGRAMS:
            items.append(
                Item(
                    name=task["id"],
                    kind=task["subtask"],
                    wording=wording_of(task["subtask"], task["prompt_id"]),
                    split=task["split"],
                    question=task["prompt"],
                    image=data_dir / "blindtest" / task["image"],
                    answer_kind=task["answer_kind"],
                    truth=task["answer"],
                    names=names_of(task),
                    outcomes=task["outcomes"],
                )
            )
    for task in read_lines(data_dir / "sroie/tasks.jsonl"):
        if kind := RECEIPTS.get(task["field"]):
            items.append(
                Item(
                    name=task["id"],
                    kind=kind,
                    wording=kind,
                    split=task["split"],
                    question=task["prompt"],
                    image=data_dir / "sroie" / task["image"],
                    answer_kind=task["answer_kind"],
                    truth=task["answer"],
                )
            )
    return items


def choose(items: list[Item], count: int) -> list[Item]:
    """`count` of one kind, the same at every run: validation first."""
    shuffle = random.Random(SEED)
    chosen: list[Item] = []
    for split in ("val", "train"):
        pool = sorted((item for item in items if item.split == split), key=lambda item: item.name)
        chosen += shuffle.sample(pool, min(count - len(chosen), len(pool)))
    return chosen


def paraphrased(items: list[Item], paraphrases: dict[str, list[str]]) -> list[str]:
    """A question for each item; the paraphrases of a wording are used in turn."""
    used: dict[str, int] = defaultdict(int)
    questions = []
    for item in items:
        choices = paraphrases.get(item.wording, [item.question])
        question = choices[used[item.wording] % len(choices)]
        for name, value in item.names.items():
            question = question.replace("{" + name + "}", value)
        questions.append(question)
        used[item.wording] += 1
    return questions


def ask(binary: Path, endpoint: str, item: Item, question: str) -> Verdict:
    try:
        result = run_task(binary, endpoint, question, [item.image], item.answer_kind)
    except Failed as failure:
        return Verdict(item, question, None, False, 0.0, [], str(failure))
    right = is_right(item.answer_kind, result.answer, item.truth)
    pairs = [f"{step.get('expert')}@@{step.get('skill')}" for step in result.steps]
    return Verdict(item, question, result.answer, right, result.latency_ms, pairs, None)


def accuracy(verdicts: list[Verdict]) -> float:
    return 100 * sum(verdict.right for verdict in verdicts) / len(verdicts)


def balanced_accuracy(verdicts: list[Verdict]) -> float:
    """The mean over the true answers of how many of their tasks are right."""
    by_truth = defaultdict(list)
    for verdict in verdicts:
        by_truth[verdict.item.truth].append(verdict)
    return sum(map(accuracy, by_truth.values())) / len(by_truth)


def best_constant(verdicts: list[Verdict]) -> float:
    """What the one answer gets that is right most often."""
    most = Counter(verdict.item.truth for verdict in verdicts).most_common(1)[0][1]
    return 100 * most / len(verdicts)


def recorded_accuracy(model: str, verdicts: list[Verdict]) -> str:
    """What a recorded model gets on the same tasks."""
    outcomes = [verdict.item.outcomes[model] for verdict in verdicts if model in verdict.item.outcomes]
    return f"{100 * sum(outcomes) / len(outcomes):.1f} %" if outcomes else ""


def mean_latency_s(verdicts: list[Verdict]) -> float:
    ran = [verdict.latency_ms for verdict in verdicts if verdict.failure is None]
    return sum(ran) / len(ran) / 1000 if ran else 0.0


def row(kind: str, asked: list[Verdict], reworded: list[Verdict], models: list[str]) -> list[str]:
    training = sum(verdict.item.split == "train" for verdict in asked)
    cells = [
        kind,
        str(len(asked)),
        str(training),
        str(sum(verdict.right for verdict in asked)),
        str(sum(verdict.failure is not None for verdict in asked + reworded)),
        f"{accuracy(asked):.1f} %",
        f"{balanced_accuracy(asked):.1f} %",
        f"{best_constant(asked):.1f} %",
        f"{mean_latency_s(asked):.2f} s",
    ]
    if reworded:
        difference = accuracy(reworded) - accuracy(asked)
        cells += [f"{accuracy(reworded):.1f} %", f"{difference:+.1f}"]
    return cells + [recorded_accuracy(model, asked) for model in models]


def report(asked: list[Verdict], reworded: list[Verdict]) -> None:
    models = list(dict.fromkeys(model for verdict in asked for model in verdict.item.outcomes))
    header = ["kind", "tasks", "of train", "right", "failed", "accuracy", "balanced", "constant", "time"]
    if reworded:
        header += ["paraphrased", "difference"]
    rows = []
    for wording in dict.fromkeys(verdict.item.wording for verdict in asked):
        mine = [[v for v in verdicts if v.item.wording == wording] for verdicts in (asked, reworded)]
        rows.append(row(wording, *mine, models))
    rows.append(row("all", asked, reworded, models))
    print_table(header + models, rows)


def write_details(path: Path, verdicts: list[Verdict]) -> None:
    with open(path, "w", encoding="utf-8") as lines:
        for verdict in verdicts:
            entry = {
                "id": verdict.item.name,
                "kind": verdict.item.kind,
                "question": verdict.question,
                "answer": verdict.answer,
                "right": verdict.right,
                "latency_ms": verdict.latency_ms,
                "pairs": verdict.pairs,
                "failure": verdict.failure,
            }
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--endpoint", help="a running `maestro up`")
    parser.add_argument("--maestro", type=Path, default=default_binary())
    parser.add_argument("--paraphrase", type=Path, help="JSON Lines of `kind` and `text`")
    parser.add_argument("--n", type=int, default=50, help="tasks of each kind of diagram")
    parser.add_argument("--kinds", nargs="+", choices=(*DIAGRAMS, *RECEIPTS.values()), help="only these")
    parser.add_argument("--split", choices=("train", "val"), help="only tasks of this split")
    parser.add_argument("--receipts", type=int, default=60)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--details", type=Path, help="write every answer here")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    every = read_items(args.data_dir)
    items: list[Item] = []
    for kind in args.kinds or (*DIAGRAMS, *RECEIPTS.values()):
        count = args.receipts if kind in RECEIPTS.values() else args.n
        wanted = [item for item in every if item.kind == kind and args.split in (None, item.split)]
        items += choose(wanted, count)
    asked = [(item, item.question) for item in items]
    if args.paraphrase:
        paraphrases: dict[str, list[str]] = defaultdict(list)
        for line in read_lines(args.paraphrase):
            paraphrases[line["kind"]].append(line["text"])
        asked += list(zip(items, paraphrased(items, paraphrases), strict=True))

    with contextlib.ExitStack() as stack:
        try:
            endpoint = args.endpoint or stack.enter_context(installation(args.maestro))
        except (Failed, OSError) as failure:
            print(f"evaluate_data: {failure}", file=sys.stderr)
            return 1
        pool = stack.enter_context(ThreadPoolExecutor(args.parallel))
        verdicts = list(pool.map(lambda pair: ask(args.maestro, endpoint, *pair), asked))

    report(verdicts[: len(items)], verdicts[len(items) :])
    if args.details:
        write_details(args.details, verdicts)
    failures = [verdict for verdict in verdicts if verdict.failure]
    for verdict in failures[:5]:
        print(f"failed: {verdict.item.name}: {verdict.failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
