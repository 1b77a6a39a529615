#!/usr/bin/env python3
"""Every dashboard with live data: real services under load, read by Prometheus.

    tests/live/dashboards.py --policy FOLDER [--binaries target/release] [--seconds 60]

The policy in FOLDER serves, and shadows itself. A load of good, failing, slow and cancelled episodes runs while an expert is added. Then
`scripts/check_dashboards.py` asks Prometheus for every expression of every dashboard, each of which
must give data, and `promtool check metrics` reads the metrics of each service. Needs etcd, prometheus
(Debian), and Python with scripts/requirements.txt, promql-parser and PyYAML.
"""

import argparse
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from installation import (
    JOBS,
    REPOSITORY,
    Model,
    Processes,
    free_ports,
    load,
    query,
    serve,
    start_prometheus,
    start_services,
    until,
)

# The price makes costs; without a retry in the backend a failure is one.
DESCRIPTOR = """\
    - name: {name}
      description: Answers any question, after a while.
      capabilities: [chat]
      modalities: [text]
      price: {{ input_per_mtok: 500000, output_per_mtok: 1500000 }}
      limits: {{ max_concurrency: 8 }}
      backend: {{ kind: openai, config: {{ base_url: "http://127.0.0.1:{port}/v1", model: any }} }}
"""


class Quick(Model):
    """The same, at once."""

    delay_s = 0.02


def experts(port: int) -> str:
    """A quick model, and the analyst of diagrams."""
    analyst = (REPOSITORY / "services/expert-worker/experts/image-analysis.yaml").read_text("utf-8")
    lines = [line for line in analyst.splitlines() if line and not line.startswith("#")]
    indented = "\n".join(("    - " if not number else "      ") + line for number, line in enumerate(lines))
    return DESCRIPTOR.format(name="quick", port=port) + indented + "\n"


def questions() -> list[load.Question]:
    texts = ["Is anybody there?", "What is seven times six?", "Why did the call fail?"]
    return [load.Question(text, None, "free_text", "", expert="quick") for text in texts] + load.diagrams()


def ask(address: str, stop: threading.Event, offset: int) -> None:
    client, asked = load.Client(address), questions()
    while not stop.is_set():
        # One in twenty gives up early, which cancels its episode.
        offset += 1
        client.ask(asked[offset % len(asked)], timeout=0.005 if offset % 20 == 0 else 20)
        stop.wait(0.05)
    client.close()


def change_registry(binaries: Path, address: str, folder: Path, port: int) -> None:
    """Adds an expert, which the running worker adopts, and removes it."""
    path = folder / "added.yaml"
    path.write_text(textwrap.dedent(DESCRIPTOR.format(name="added", port=port)).replace("- ", "  ", 1))
    for words in (["add", str(path)], ["remove", "added"]):
        maestro(binaries, address, "experts", *words)
        time.sleep(3)


def maestro(binaries: Path, address: str, *words: str) -> str:
    """What a command of `maestro` prints."""
    command = [str(binaries / "maestro"), *words, "--endpoint", f"http://{address}"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=30, text=True)
    return done.stdout.strip()


def activate(binaries: Path, address: str, policy: Path) -> None:
    """Lets a policy decide, and score along beside itself."""
    digest = maestro(binaries, address, "policy", "push", str(policy))
    maestro(binaries, address, "policy", "activate", digest)
    maestro(binaries, address, "policy", "activate", digest, "--shadow")


def promtool(ports: dict[str, int]) -> None:
    """What promtool has to say against a service's metrics ends the run."""
    for name in JOBS:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[name + '-metrics']}/metrics", timeout=10) as page:
            text = page.read()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        if done.returncode or done.stdout or done.stderr:
            raise SystemExit(f"FAILED: {name}: {done.stdout.decode()}{done.stderr.decode()}")
        series = sum(not line.startswith(b"#") for line in text.splitlines())
        print(f"promtool check metrics: {name} is clean, {series} series")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=REPOSITORY / "target/release")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    load.build_client()
    ports, port = free_ports(), serve(Quick)
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        start_services(processes, arguments.binaries, ports, experts(port), max_running=64)
        start_prometheus(processes, ports, [], None)
        address = f"127.0.0.1:{ports['coordinator']}"
        first = load.Client(address)
        until("an answer", lambda: first.ask(questions()[0], 10)[0] == "at last")
        until("the scrapes", lambda: query(ports, "sum(up)") == len(JOBS) + 1)
        activate(arguments.binaries, address, arguments.policy)
        stop = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            for number in range(4):
                pool.submit(ask, address, stop, number * 5)
            until_s = time.monotonic() + arguments.seconds
            while time.monotonic() < until_s:
                change_registry(arguments.binaries, address, Path(folder), port)
            url = f"http://127.0.0.1:{ports['prometheus']}"
            command = [sys.executable, str(REPOSITORY / "scripts/check_dashboards.py"), "--prometheus", url]
            checked = subprocess.run(command, check=False)
            stop.set()
        episodes = query(ports, "sum(maestro_episodes_total)")
        print(f"{episodes:.0f} episodes in all")
        promtool(ports)
        sys.exit(checked.returncode)


main()
