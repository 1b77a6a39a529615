"""An installation as processes: etcd, one of each service, and Prometheus that reads them all."""

import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/kubernetes"))
import load  # noqa: E402, F401

PATIENCE_S = 120
# Programs by the job that the chart's monitors name.
JOBS = {
    "coordinator": "coordinator",
    "policy-worker": "policy-worker",
    "skill-runner": "skill-runner",
    "expert-worker": "expert",
}


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


class Model(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that takes its time, and fails where it is told to."""

    protocol_version = "HTTP/1.1"
    delay_s = 2.0

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "any", "object": "model"}]})

    def do_POST(self):
        asked = self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(self.delay_s)
        if b"fail" in asked:
            self.send_error(500)
            return
        message = {"role": "assistant", "content": "at last"}
        self.reply({"id": "1", "object": "chat.completion",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}})

    def reply(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            pass  # A caller that gave up.

    def log_message(self, *_):
        """Nothing."""


def serve(handler) -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def free_ports() -> dict[str, int]:
    """One for each listener of an installation, by name."""
    return {name: free_port() for name in [*JOBS, *(f"{name}-metrics" for name in JOBS), "etcd", "prometheus"]}


def start_services(
    processes: Processes, binaries: Path, ports: dict[str, int], experts: str, max_running: int,
    batching: str = "{}",
) -> None:
    """etcd and one of each service; `experts` are descriptors in YAML, `batching` the policy worker's."""
    folder = processes.folder
    etcd, peer = ports["etcd"], free_port()
    processes.start(
        "etcd", "etcd", "--data-dir", str(folder / "etcd"),
        "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"default=http://127.0.0.1:{peer}",
    )
    own = {
        "policy-worker": f"  batching: {batching}\n",
        "skill-runner": "  library: register\n",
        "coordinator": f"  policy_workers: ['http://127.0.0.1:{ports['policy-worker']}']\n"
        f"  skill_runners: ['http://127.0.0.1:{ports['skill-runner']}']\n"
        f"  episodes: {{ max_running: {max_running} }}\n",
        "expert-worker": "  adopt: [openai]\n  experts:\n" + experts,
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


def start_prometheus(processes: Processes, ports: dict[str, int], rules: list[str], alertmanager: int | None) -> None:
    """Prometheus, which reads every service and etcd each second, labelled as in a cluster."""
    listeners = {job: (name, ports[f"{name}-metrics"]) for name, job in JOBS.items()}
    listeners["etcd"] = ("etcd", ports["etcd"])
    scrapes = [
        {"job_name": job, "static_configs": [{
            "targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "live", "pod": f"{name}-0"}}]}
        for job, (name, port) in listeners.items()
    ]
    managers = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}] if alertmanager else []
    folder = processes.folder
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "alerting": {"alertmanagers": managers},
        "scrape_configs": scrapes,
    }))
    processes.start(
        "prometheus", "prometheus", f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    )


def until(what: str, holds, timeout: float = PATIENCE_S) -> float:
    """Waits, and returns for how many seconds."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout:
            raise SystemExit(f"FAILED: waited {timeout:.0f} s in vain for {what}")
        time.sleep(0.2)
    return time.monotonic() - started


def query(ports: dict[str, int], expression: str) -> float | None:
    """The value of the first series, if there is one."""
    url = f"http://127.0.0.1:{ports['prometheus']}/api/v1/query?query={urllib.parse.quote(expression)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            result = json.load(response)["data"]["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None
