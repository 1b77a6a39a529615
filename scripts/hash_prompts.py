#!/usr/bin/env python3
"""Writes the fingerprints of every 5-word run in the prompts of recorded tasks.

    hash_prompts.py DATA_DIR [--output tests/assets/prompt_5grams.bin]
    hash_prompts.py --check FILE…      which 5-word runs of text files are among them

A test compares the project's own wording (descriptions, dispatch rules, paraphrases) with them, so
that nothing is chosen because a benchmark's phrase was copied. The file holds no text of the data.

Format: 8 bytes a fingerprint, sorted as bytes, each once, nothing else. A fingerprint is the first
8 bytes of the SHA-256 of five consecutive words joined by single spaces. Words are the longest
runs of ASCII letters and digits in the text, in lower case; every other character separates.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

RUN = 5
FINGERPRINT_BYTES = 8
DATA_SETS = ("blindtest", "sroie", "coco_count", "svamp")
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "tests/assets/prompt_5grams.bin"


def runs(text: str) -> Iterator[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    for start in range(len(words) - RUN + 1):
        yield " ".join(words[start : start + RUN])


def fingerprint(run: str) -> bytes:
    return hashlib.sha256(run.encode()).digest()[:FINGERPRINT_BYTES]


def read(path: Path) -> set[bytes]:
    content = path.read_bytes()
    return {
        content[start : start + FINGERPRINT_BYTES]
        for start in range(0, len(content), FINGERPRINT_BYTES)
    }


def write(data_dir: Path, output: Path) -> None:
    found: set[bytes] = set()
    for name in DATA_SETS:
        with open(data_dir / name / "tasks.jsonl", encoding="utf-8") as lines:
            for line in lines:
                found.update(map(fingerprint, runs(json.loads(line)["prompt"])))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(b"".join(sorted(found)))
    print(f"{len(found)} fingerprints in {output}")


def passages(path: Path) -> Iterator[str]:
    """The texts of a file: every string of a JSON Lines file's objects, else the whole."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        yield content
        return
    for line in content.splitlines():
        yield from (value for value in json.loads(line).values() if isinstance(value, str))


def check(paths: list[Path], known: set[bytes]) -> int:
    shared = 0
    for path in paths:
        for text in passages(path):
            for run in runs(text):
                if fingerprint(run) in known:
                    print(f"{path}: {run}")
                    shared += 1
    return shared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--check", type=Path, nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.check:
        shared = check(args.check, read(args.output))
        print(f"{shared} shared 5-word runs")
        return 1 if shared else 0
    if not args.data_dir:
        parser.error("DATA_DIR or --check is needed")
    write(args.data_dir, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
