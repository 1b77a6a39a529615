#!/usr/bin/env python3
"""Alerts live: real services, Prometheus with the chart's rules, Alertmanager, a webhook.

    tests/live/alerts.py [--binaries target/release]

The policy worker's queue is filled, then the coordinator; a worker is killed, etcd is stopped. Each
time the webhook must get the alert that the runbooks name, and before that none. The rules are the
chart's own, with their waiting times (`for`) cut to some seconds. Needs etcd, prometheus and
prometheus-alertmanager (Debian), and Python with scripts/requirements.txt.
"""

import argparse
import http.server
import json
import re
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from installation import (
    JOBS,
    REPOSITORY,
    Model,
    Processes,
    free_port,
    free_ports,
    load,
    query,
    serve,
    start_prometheus,
    start_services,
    until,
)

DESCRIPTOR = """\
    - name: {name}
      description: Answers any question.
      capabilities: [chat]
      modalities: [text]
      limits: {{ max_concurrency: 64 }}
      backend: {{ kind: openai, config: {{ base_url: "http://127.0.0.1:{chat}/v1", model: any }} }}
"""


class Quick(Model):
    """So that an episode is hardly more than its decisions."""

    delay_s = 0.0


FIRED: dict[str, float] = {}


class Webhook(http.server.BaseHTTPRequestHandler):
    """Notes which alerts came, and when."""

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for alert in content["alerts"]:
            if alert["status"] == "firing":
                FIRED.setdefault(alert["labels"]["alertname"], time.monotonic())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Nothing."""


def write_rules(folder: Path) -> list[str]:
    """The chart's rules with short waiting times."""
    paths = []
    for rules in sorted((REPOSITORY / "helm/maestro/files/alerts").glob("*.yaml")):
        text, count = re.subn(r"(?m)^(\s+for:) .*$", r"\1 5s", rules.read_text("utf-8"))
        if not count:
            raise SystemExit(f"{rules} has no waiting times")
        path = folder / rules.name
        path.write_text(text)
        paths.append(str(path))
    return paths


def start_watching(processes: Processes, ports: dict[str, int]) -> None:
    folder = processes.folder
    manager = free_port()
    (folder / "alertmanager.yml").write_text(
        "route: { receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s }\n"
        f"receivers: [ {{ name: hook, webhook_configs: [ {{ url: 'http://127.0.0.1:{serve(Webhook)}/' }} ] }} ]\n"
    )
    processes.start(
        "alertmanager", "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{manager}",
        "--cluster.listen-address=",
    )
    start_prometheus(processes, ports, write_rules(folder), manager)


def require_silence(alert: str) -> None:
    if alert in FIRED:
        raise SystemExit(f"FAILED: {alert} before its reason")


def flood(client: load.Client, question: load.Question, clients: int, alert: str) -> float:
    """Asks from so many threads at once until the alert has come; returns for how many seconds."""
    stop = threading.Event()
    require_silence(alert)

    def ask() -> None:
        while not stop.is_set():
            client.ask(question, 10)

    with ThreadPoolExecutor(clients) as pool:
        for _ in range(clients):
            pool.submit(ask)
        try:
            return until(alert, lambda: alert in FIRED)
        finally:
            stop.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=REPOSITORY / "target/release")
    arguments = parser.parse_args()
    load.build_client()
    ports = free_ports()
    slow, quick = (load.Question("Is anybody there?", None, "free_text", "", expert=name) for name in ("slow", "quick"))
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        experts = "".join(
            DESCRIPTOR.format(name=name, chat=serve(model)) for name, model in (("slow", Model), ("quick", Quick))
        )
        start_services(
            processes, arguments.binaries, ports, experts, max_running=8, batching="{ max_batch: 1, queue: 1 }"
        )
        start_watching(processes, ports)
        client = load.Client(f"127.0.0.1:{ports['coordinator']}")
        until("an answer", lambda: client.ask(slow, 10)[0] == "at last")
        until("the scrapes", lambda: query(ports, 'sum(up)') == len(JOBS) + 1)
        time.sleep(10)
        if FIRED:
            raise SystemExit(f"FAILED: alerts without a reason: {sorted(FIRED)}")
        print("quiet while all is well")

        # In this order: more episodes than the coordinator runs fill both.
        took = flood(client, quick, 6, "MaestroDecisionQueueFull")
        print(f"full queue of decisions: MaestroDecisionQueueFull after {took:.0f} s")

        took = flood(client, slow, 24, "MaestroEpisodesRejected")
        print(f"full coordinator: MaestroEpisodesRejected after {took:.0f} s")

        require_silence("MaestroPodDown")
        processes.end("expert-worker", signal.SIGKILL)
        took = until("MaestroPodDown", lambda: "MaestroPodDown" in FIRED)
        print(f"killed worker: MaestroPodDown after {took:.0f} s")

        require_silence("MaestroRegistryDisconnected")
        processes.end("etcd", signal.SIGKILL)
        took = until("MaestroRegistryDisconnected", lambda: "MaestroRegistryDisconnected" in FIRED)
        print(f"etcd down: MaestroRegistryDisconnected after {took:.0f} s")
        print(f"fired in all: {', '.join(sorted(FIRED))}")


main()
