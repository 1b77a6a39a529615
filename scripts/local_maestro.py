"""Starts a local installation (`maestro up` and a language model) and runs tasks on it."""

import contextlib
import json
import os
import queue
import string
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache/logs"
# Loading and warming the models takes seconds, on a busy machine a minute.
READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 15
# How long `maestro run` may take beyond the episode's own deadline.
RUN_TIMEOUT_S = 300
COMMAND_TIMEOUT_S = 60


class Failed(Exception):
    """Something did not run; wrong answers are not of this kind."""


@dataclass
class Result:
    """What `maestro run --json` printed."""

    answer: str | None
    termination: str
    steps: list[dict]
    latency_ms: float
    cost_usd: float

    @classmethod
    def parse(cls, text: str) -> "Result":
        try:
            content = json.loads(text)
            return cls(
                answer=None if content["answer"] is None else str(content["answer"]),
                termination=str(content["termination"]).lower(),
                steps=content["steps"],
                latency_ms=float(content["latency_ms"]),
                cost_usd=float(content["cost_usd"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(f"unreadable result ({error!r}): {text[:200]!r}") from error


def default_binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return target / "release/maestro"


@contextlib.contextmanager
def serving(name: str, command: Sequence[str | Path]) -> Iterator[str]:
    """Runs a server until the block ends; yields the address of its line `ready ADDRESS`.

    The server's standard error goes to a log file. Its standard input is a pipe that closes with
    this process, however it ends.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    lines: queue.Queue[str | None] = queue.Queue()

    def read_lines() -> None:
        # Goes on after the first line, so that the server never blocks on a full pipe.
        for line in process.stdout:
            if line.startswith("ready "):
                lines.put(line.split(maxsplit=1)[1].strip())
        lines.put(None)

    threading.Thread(target=read_lines, daemon=True).start()
    try:
        try:
            address = lines.get(timeout=READY_TIMEOUT_S)
        except queue.Empty:
            raise Failed(f"{name} was not ready after {READY_TIMEOUT_S} s, see {log}") from None
        if address is None:
            raise Failed(f"{name} ended before it was ready:\n{tail(log)}")
        yield address
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def command_output(command: Sequence[str | Path]) -> str:
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} {command[1]}: no end after {COMMAND_TIMEOUT_S} s") from None
    if done.returncode:
        raise Failed(f"{command[0]} {command[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def installation(binary: Path) -> Iterator[str]:
    """`maestro up` with its local experts, to which a language model is then added.

    The model's server is an ordinary OpenAI-compatible one, so adding it is what adding any remote
    model is: one descriptor, nothing deployed.
    """
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(
            serving("llm-server", [sys.executable, ROOT / "scripts/llm-server.py"])
        )
        endpoint = stack.enter_context(serving("maestro-up", [binary, "up"]))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        template = string.Template((ROOT / "demo/language-model.yaml").read_text("utf-8"))
        descriptor = Path(folder) / "language-model.yaml"
        descriptor.write_text(template.substitute(LLM_ENDPOINT=model), "utf-8")
        command_output([binary, "experts", "add", descriptor, "--endpoint", endpoint])
        yield endpoint


def run_task(
    binary: Path,
    endpoint: str,
    question: str,
    images: Sequence[Path],
    answer_kind: str,
    show_steps: bool = False,
) -> Result:
    """Runs one task; its steps appear on standard error as they happen, if wanted.

    The question, the images and the kind of answer are all that is sent.
    """
    command = [str(binary), "run", question, "--json", "--endpoint", endpoint]
    command += ["--kind", answer_kind.replace("_", "-")]
    for image in images:
        command += ["--image", str(image)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if show_steps else subprocess.PIPE,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no end after {RUN_TIMEOUT_S} s") from None
    if not done.stdout.strip():
        raise Failed((done.stderr or f"exit status {done.returncode}").strip())
    result = Result.parse(done.stdout)
    if result.termination not in ("answered", "truncated"):
        raise Failed(f"the episode ended as {result.termination}")
    return result


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
