#!/usr/bin/env python3
"""Serves a GGUF model on loopback with the OpenAI chat API, by llama.cpp inside this process.

    llm-server.py [--model FILE] [--name NAME] [--port PORT] [--parallel N] [--threads N]

Prints one line, `ready http://127.0.0.1:PORT`, when it answers; everything else goes to stderr.
Port 0 takes a free one. It ends on SIGTERM or SIGINT, when the process that started it is gone,
and, where its standard input is a pipe, when that closes: no server outlives what needed it.
"""

import argparse
import os
import select
import signal
import stat
import sys
from pathlib import Path

# How often the parent and the standard input are looked at, in seconds.
WATCH_INTERVAL_S = 0.5


def models_dir() -> Path:
    return Path(os.environ.get("MAESTRO_MODELS") or Path.home() / ".cache/maestro/models")


def default_threads() -> int:
    """Half of the processors: its threads wait for each other by spinning, so that on a machine
    which is busy otherwise one thread too many makes every token slower by a factor."""
    return max(1, min(4, (os.cpu_count() or 1) // 2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=models_dir() / "smollm2-135m/model.gguf")
    parser.add_argument("--name", default="smollm2-135m", help="model name that requests give")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=2, help="requests generated at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens per request")
    parser.add_argument("--threads", type=int, default=default_threads())
    return parser.parse_args()


def start(args: argparse.Namespace):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.model)
    params.model_alias = {args.name}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_parallel = args.parallel
    params.n_ctx = args.context * args.parallel
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.cache_ram_mib = 256
    params.ui = False
    params.verbosity = 1
    return xllamacpp.Server(params)


def wait_for_the_end(parent: int) -> str:
    """Blocks until a reason to stop appears, and says which."""
    signals = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: signals.append(received))
    mode = os.fstat(0).st_mode
    watch_stdin = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    while True:
        watched = [0] if watch_stdin else []
        readable, _, _ = select.select(watched, [], [], WATCH_INTERVAL_S)
        if signals:
            return signal.Signals(signals[0]).name
        if readable and not os.read(0, 4096):
            return "standard input closed"
        if os.getppid() != parent:
            return "parent gone"


def main() -> int:
    args = arguments()
    if not args.model.is_file():
        print(f"{args.model} is missing: run `maestro models pull`", file=sys.stderr)
        return 2
    parent = os.getppid()
    server = start(args)
    print(f"ready {server.listening_address}", flush=True)
    reason = wait_for_the_end(parent)
    print(f"stopping: {reason}", file=sys.stderr, flush=True)
    # The server's threads hold nothing that must be saved, and joining them waits for requests.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
