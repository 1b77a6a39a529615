#!/usr/bin/env python3
"""Three alerts live: real services, Prometheus with the chart's rules, Alertmanager, a webhook.

    tests/alerts/live.py [--binaries target/release]

A worker is killed, the coordinator is filled, etcd is stopped; each time the webhook must get the
alert that the runbooks name, and before that none. The rules are the chart's own, with their waiting
times (`for`) cut to some seconds. Needs etcd, prometheus and prometheus-alertmanager (Debian), and
Python with scripts/requirements.txt.
"""

import argparse
import http.server
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/kubernetes"))
import load  # noqa: E402

PATIENCE_S = 120
DESCRIPTOR = """\
    - name: slow
      description: Answers any question, after a while.
      capabilities: [chat]
      modalities: [text]
      limits: {{ max_concurrency: 64 }}
      backend: {{ kind: openai, config: {{ base_url: "http://127.0.0.1:{chat}/v1", model: any }} }}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Processes:
    """What runs, each with a log. A context manager that ends all of it."""

    def __init__(self, folder: Path):
        self.folder, self.running = folder, {}

    def start(self, name: str, *command: str) -> None:
        log = open(self.folder / f"{name}.log", "ab")
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self, name: str, how: signal.Signals) -> None:
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait()


class Slow(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that takes its time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "any", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(2)
        message = {"role": "assistant", "content": "at last"}
        self.reply({"id": "1", "object": "chat.completion",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def reply(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


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


def serve(handler) -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


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


def start_services(processes: Processes, binaries: Path, ports: dict[str, int]) -> None:
    folder = processes.folder
    etcd, peer = ports["etcd"], free_port()
    processes.start(
        "etcd", "etcd", "--data-dir", str(folder / "etcd"),
        "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"default=http://127.0.0.1:{peer}",
    )
    own = {
        "policy-worker": "  sampling: {}\n",
        "skill-runner": "  library: register\n",
        "coordinator": f"  policy_workers: ['http://127.0.0.1:{ports['policy-worker']}']\n"
        f"  skill_runners: ['http://127.0.0.1:{ports['skill-runner']}']\n"
        "  episodes: { max_running: 4 }\n",
        "expert-worker": "  experts:\n" + DESCRIPTOR.format(chat=serve(Slow)),
    }
    for name, settings in own.items():
        store = "{ store: { url: 'memory:///' } }"
        remote = f"{{ remote: {{ endpoints: ['http://127.0.0.1:{ports['coordinator']}'] }} }}"
        config = folder / f"{name}.yaml"
        config.write_text(
            f"etcd: {{ endpoints: ['http://127.0.0.1:{etcd}'] }}\n"
            f"blobs: {store if name == 'coordinator' else remote}\n"
            f"metrics: '127.0.0.1:{ports[name + '-metrics']}'\n"
            f"service:\n  serve: {{ listen: '127.0.0.1:{ports[name]}' }}\n{settings}"
        )
        processes.start(name, str(binaries / f"maestro-{name}"), "--config", str(config))


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
    jobs = {"coordinator": "coordinator", "policy-worker": "policy-worker",
            "skill-runner": "skill-runner", "expert-worker": "expert"}
    scrapes = [
        {"job_name": job, "static_configs": [{
            "targets": [f"127.0.0.1:{ports[name + '-metrics']}"],
            "labels": {"namespace": "live", "pod": f"{name}-0"}}]}
        for name, job in jobs.items()
    ]
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": write_rules(folder),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]},
        "scrape_configs": scrapes,
    }))
    processes.start(
        "prometheus", "prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    )


def until(what: str, holds, timeout: float = PATIENCE_S) -> float:
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout:
            raise SystemExit(f"FAILED: waited {timeout:.0f} s in vain for {what}; fired: {sorted(FIRED)}")
        time.sleep(0.2)
    return time.monotonic() - started


def query(ports: dict[str, int], expression: str) -> float | None:
    url = f"http://127.0.0.1:{ports['prometheus']}/api/v1/query?query={urllib.parse.quote(expression)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            result = json.load(response)["data"]["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=REPOSITORY / "target/release")
    arguments = parser.parse_args()
    load.build_client()
    services = ["coordinator", "policy-worker", "skill-runner", "expert-worker"]
    names = services + [f"{name}-metrics" for name in services] + ["etcd", "prometheus"]
    ports = {name: free_port() for name in names}
    question = load.Question("Is anybody there?", None, "free_text", "", expert="slow")
    with tempfile.TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        start_services(processes, arguments.binaries, ports)
        start_watching(processes, ports)
        client = load.Client(f"127.0.0.1:{ports['coordinator']}")
        until("an answer", lambda: client.ask(question, 10)[0] == "at last")
        until("the scrapes", lambda: query(ports, 'sum(up)') == len(services))
        time.sleep(10)
        if FIRED:
            raise SystemExit(f"FAILED: alerts without a reason: {sorted(FIRED)}")
        print("quiet while all is well")

        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                client.ask(question, 10)

        with ThreadPoolExecutor(12) as pool:
            for _ in range(12):
                pool.submit(flood)
            took = until("MaestroEpisodesRejected", lambda: "MaestroEpisodesRejected" in FIRED)
            stop.set()
        print(f"full coordinator: MaestroEpisodesRejected after {took:.0f} s")

        processes.end("expert-worker", signal.SIGKILL)
        took = until("MaestroPodDown", lambda: "MaestroPodDown" in FIRED)
        print(f"killed worker: MaestroPodDown after {took:.0f} s")

        if "MaestroRegistryDisconnected" in FIRED:
            raise SystemExit("FAILED: MaestroRegistryDisconnected while etcd serves")
        processes.end("etcd", signal.SIGKILL)
        took = until("MaestroRegistryDisconnected", lambda: "MaestroRegistryDisconnected" in FIRED)
        print(f"etcd down: MaestroRegistryDisconnected after {took:.0f} s")
        print(f"fired in all: {', '.join(sorted(FIRED))}")


main()
