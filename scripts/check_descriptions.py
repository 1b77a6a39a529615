#!/usr/bin/env python3
"""Checks that training/descriptions.jsonl has each description of an expert, skill or solver.

A line holds a description as the registry has it, its SHA-256, and three paraphrases: two that
training puts in its place, so that a policy learns what a description means rather than how it is
worded, and a third that only evaluations use.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "training/descriptions.jsonl"
PARAPHRASES = 3


def descriptions() -> Iterator[str]:
    files = [
        *ROOT.glob("services/expert-worker/experts/*.yaml"),
        ROOT / "demo/language-model.yaml",
        *ROOT.glob("services/skill-runner/skills/*/solvers/*.yaml"),
    ]
    for path in files:
        yield yaml.safe_load(path.read_text(encoding="utf-8"))["description"]
    for path in ROOT.glob("services/skill-runner/skills/*/SKILL.md"):
        _, front_matter, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        yield yaml.safe_load(front_matter)["description"]


def complaints(entry: dict) -> Iterator[str]:
    text, paraphrases = entry["text"], entry["paraphrases"]
    if entry["digest"] != hashlib.sha256(text.encode()).hexdigest():
        yield f"the digest is not that of {text!r}"
    if len({text, *paraphrases}) != PARAPHRASES + 1 or len(paraphrases) != PARAPHRASES:
        yield f"{PARAPHRASES} different paraphrases are needed of {text!r}"


def main() -> int:
    with open(FILE, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    found = [complaint for entry in entries for complaint in complaints(entry)]
    known, needed = {entry["text"] for entry in entries}, set(descriptions())
    found += [f"missing: {text!r}" for text in sorted(needed - known)]
    found += [f"no longer in use: {text!r}" for text in sorted(known - needed)]
    print("\n".join(found) or f"{len(entries)} descriptions, all paraphrased")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
