#!/usr/bin/env python3
"""Installs the chart on a real Kubernetes and checks it while episodes run. See README.md."""

import argparse
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import load
from load import REPOSITORY, Client, Load, Question

RELEASE, NAMESPACE = "maestro", "maestro"
COORDINATOR = "app.kubernetes.io/component=coordinator"
# What the test changes of the chart's values: images that are on the nodes, no volumes of a
# storage class, blobs in a folder that the nodes share, requests that leave room on small nodes for
# the pods that a rolling update adds.
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}}
VALUES = {
    "coordinator": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "policyWorker": {"replicas": 2, "resources": SMALL},
    "skillRunner": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "adoptingExperts": {"replicas": 1, "drainSeconds": 20, "resources": SMALL},
    "expertDefaults": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "etcd": {
        "resources": SMALL,
        "replicas": 3,
        "image": {"registry": "localhost", "repository": "etcd", "tag": "test"},
        "persistence": {"enabled": False},
    },
    "blobs": {"volume": {"existingClaim": "maestro-blobs", "accessModes": ["ReadWriteMany"]}},
}
TESSERACT = {
    "experts": {
        "tesseract": {
            "descriptor": {
                "description": "Reads printed text in scans and photographs of documents, fast.",
                "capabilities": ["ocr"],
                "modalities": ["image"],
                "backend": {"kind": "tesseract"},
            }
        }
    }
}


class Failed(Exception):
    """A step did not hold."""


class Kubernetes:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.values = tempfile.mkdtemp(prefix="maestro-values-")

    def command(self, *words: str, text: str | None = None, check: bool = True) -> str:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise Failed(f"{' '.join(words[:8])}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        config = f"--kubeconfig={self.arguments.kubeconfig}"
        return self.command(self.arguments.kubectl, config, f"-n={NAMESPACE}", *words, text=text, check=check)

    def get(self, *words: str) -> dict:
        return json.loads(self.kubectl("get", *words, "-o=json"))

    def helm(self, *words: str) -> str:
        config = f"--kubeconfig={self.arguments.kubeconfig}"
        return self.command(self.arguments.helm, *words, config, f"--namespace={NAMESPACE}")

    def upgrade(self, *extra: dict, wait: bool = True) -> None:
        words = ["upgrade", "--install", RELEASE, str(REPOSITORY / "helm/maestro"), "--timeout=6m"]
        for number, values in enumerate([VALUES, *extra]):
            path = Path(self.values) / f"{number}.json"
            path.write_text(json.dumps(values))
            words += ["--values", str(path)]
        self.helm(*words, *(["--wait"] if wait else []))

    def pods(self) -> dict[str, dict]:
        """The pods that serve or will, by name: neither ending nor the test's."""
        items = self.get("pods", "-l=app.kubernetes.io/name=maestro")["items"]
        lasting = (pod for pod in items if pod["status"]["phase"] != "Succeeded")
        return {p["metadata"]["name"]: p for p in lasting if "deletionTimestamp" not in p["metadata"]}

    def restarts(self) -> int:
        statuses = [pod["status"].get("containerStatuses", []) for pod in self.pods().values()]
        return sum(status["restartCount"] for several in statuses for status in several)

    def coordinator(self) -> str:
        services = self.get("services", f"-l={COORDINATOR}")["items"]
        for service in services:
            if service["spec"]["clusterIP"] != "None":
                return f"{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
        raise Failed(f"no Service of the coordinator among {len(services)}")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Failed(message)


def flawless(result: load.Result) -> None:
    print(f"    {result}")
    require(result.answered > 0, "nothing was answered")
    require(not result.failures and not result.wrong, "episodes failed or were answered wrongly")


def until(what: str, holds, timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            raise Failed(f"waited {timeout:.0f} s in vain: {what}")
        time.sleep(0.5)


def install(k8s: Kubernetes) -> None:
    k8s.command(k8s.arguments.kubectl, f"--kubeconfig={k8s.arguments.kubeconfig}", "create", "namespace", NAMESPACE, check=False)
    shared = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "maestro-blobs"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "hostPath": {"path": k8s.arguments.shared, "type": "Directory"},
            "claimRef": {"namespace": NAMESPACE, "name": "maestro-blobs"},
            "storageClassName": "",
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "maestro-blobs"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": "maestro-blobs",
        },
    }
    for manifest in (shared, claim):
        k8s.kubectl("apply", "-f=-", text=json.dumps(manifest))
    k8s.upgrade()
    k8s.helm("test", RELEASE)
    require(k8s.restarts() == 0, "pods were restarted while the release was installed")


def foreign_client(k8s: Kubernetes) -> None:
    client = Client(k8s.coordinator())
    for question in load.diagrams():
        answer, experts, failed = client.ask(question)
        require(failed is None, f"{question.text}: {failed}")
        require(answer.replace(" ", "").lower() == question.truth.lower(), f"{question.text}: {answer}")
        print(f"    {question.text} {answer} (asked {', '.join(experts)})")
    client.close()


def upgrade_adds_an_expert(k8s: Kubernetes) -> None:
    before = set(k8s.pods())
    with Load(k8s.coordinator()) as under_load:
        k8s.upgrade(TESSERACT)
        time.sleep(3)
    flawless(under_load.result)
    after = set(k8s.pods())
    require(before <= after, f"other pods were replaced: {before - after}")
    require(all("tesseract" in name for name in after - before), f"unexpected: {after - before}")
    require(k8s.restarts() == 0, "pods were restarted")


class Chat(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that always says the same."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "any", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        message = {"role": "assistant", "content": "the remote model"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        self.reply({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})

    def reply(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: the steps say what happens."""


def add_expert_by_command(k8s: Kubernetes) -> None:
    server = http.server.ThreadingHTTPServer((k8s.arguments.host_ip, 0), Chat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    descriptor = (
        "name: remote\ndescription: A remote model that answers any question.\n"
        "capabilities: [chat]\nmodalities: [text]\nbackend: {kind: openai, config: "
        f"{{base_url: 'http://{k8s.arguments.host_ip}:{server.server_port}/v1', model: any}}}}\n"
    )
    path = Path(k8s.values) / "remote.yaml"
    path.write_text(descriptor)
    before = set(k8s.pods())
    address = k8s.coordinator()
    with Load(address) as under_load:
        k8s.command(k8s.arguments.maestro, "experts", "add", str(path), "--replace", "--endpoint", f"http://{address}")
        added = time.monotonic()
        client = Client(address)
        question = Question("Who answers this?", None, "free_text", "", expert="remote")
        said = []

        def answers() -> bool:
            answer, _, failed = client.ask(question)
            said.append(failed or answer)
            return answer == "the remote model"

        try:
            until("the remote model answers", answers, 60)
        except Failed as failure:
            raise Failed(f"{failure}: {said[-1]}") from None
        print(f"    the remote model answered {time.monotonic() - added:.2f} s after the command")
        client.close()
        k8s.command(k8s.arguments.maestro, "experts", "remove", "remote", "--endpoint", f"http://{address}")
    server.shutdown()
    flawless(under_load.result)
    require(set(k8s.pods()) == before and k8s.restarts() == 0, "pods were replaced or restarted")


def rolling_update_and_rollback(k8s: Kubernetes) -> None:
    before = {name for name in k8s.pods() if "etcd" not in name}
    with Load(k8s.coordinator()) as under_load:
        try:
            k8s.upgrade(TESSERACT, {"log": {"filter": "info,maestro_rpc=warn"}})
        except Failed:
            print(f"    {under_load.result}")
            raise
        updated = {name for name in k8s.pods() if "etcd" not in name}
        k8s.helm("rollback", RELEASE, "--wait", "--timeout=6m")
        time.sleep(3)
    rolled_back = {name for name in k8s.pods() if "etcd" not in name}
    flawless(under_load.result)
    require(not before & updated, f"not updated: {before & updated}")
    require(not updated & rolled_back, f"not rolled back: {updated & rolled_back}")


def gpu(k8s: Kubernetes) -> None:
    node = k8s.get("nodes")["items"][0]["metadata"]["name"]
    number = "".join(filter(str.isdigit, node))
    k8s.command(*k8s.arguments.gpu.split(), number, "1")
    until(
        "the node offers its GPU",
        lambda: k8s.get("node", node)["status"]["allocatable"].get("nvidia.com/gpu") == "1",
    )
    gpu_worker = {"policyWorker": {"replicas": 1, "gpu": {"enabled": True, "count": 1}}}
    k8s.upgrade(TESSERACT, gpu_worker)
    pods = [pod for name, pod in k8s.pods().items() if "policy-worker" in name]
    require(len(pods) == 1 and pods[0]["spec"]["nodeName"] == node, "it is not on the GPU's node")
    limits = pods[0]["spec"]["containers"][0]["resources"]["limits"]
    require(limits.get("nvidia.com/gpu") == "1", f"it holds no GPU: {limits}")
    foreign_client(k8s)
    k8s.upgrade(TESSERACT)


def lost_node(k8s: Kubernetes) -> None:
    pods = k8s.pods()
    on = lambda node: [name for name, pod in pods.items() if pod["spec"].get("nodeName") == node]
    nodes = sorted({pod["spec"]["nodeName"] for pod in pods.values()})
    require(len(nodes) > 1, f"all pods are on {nodes}")
    # Two of three members of etcd must live on: a majority that is lost is lost with its node.
    node = min(nodes, key=lambda node: sum("etcd" in name for name in on(node)))
    number = "".join(filter(str.isdigit, node))
    lost, address = on(node), k8s.coordinator()
    k8s.command(*k8s.arguments.cut.split(), number)
    cut = time.monotonic()
    client, question = Client(address), load.diagrams()[0]
    first_failure, recovered = None, None
    try:
        # Until the cluster has noticed, some episodes meet the lost pods; from then on none does.
        streak = 0
        while streak < 20:
            require(time.monotonic() - cut < 180, "no 20 answers in a row within 180 s")
            _, _, failed = client.ask(question, timeout=15)
            streak = 0 if failed else streak + 1
            if failed:
                first_failure = first_failure or failed
                client.close()
                client = Client(address)
            elif streak == 1:
                recovered = time.monotonic() - cut
            time.sleep(0.1)
        print(f"    {len(lost)} pods lost with {node}; steady answers from {recovered:.1f} s on")
        if first_failure:
            print(f"    in between: {first_failure}")
    finally:
        client.close()
        k8s.command(*k8s.arguments.heal.split(), number)
    ready = lambda: all(
        node["status"]["conditions"][-1]["status"] == "True" for node in k8s.get("nodes")["items"]
    )
    until("both nodes are ready", ready)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--host-ip", required=True, help="where pods reach this machine")
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--maestro", default=str(REPOSITORY / "target/release/maestro"))
    parser.add_argument("--shared", required=True, help="a folder that the nodes share")
    parser.add_argument("--gpu", help="command that makes NODE offer COUNT GPUs")
    parser.add_argument("--cut", help="command that cuts NODE off the network")
    parser.add_argument("--heal", help="command that connects NODE again")
    parser.add_argument("--only", nargs="*", help="run these steps alone")
    arguments = parser.parse_args()
    load.build_client()
    steps = [install, foreign_client, upgrade_adds_an_expert, add_expert_by_command, rolling_update_and_rollback]
    if arguments.gpu:
        steps.append(gpu)
    if arguments.cut and arguments.heal:
        steps.append(lost_node)
    k8s = Kubernetes(arguments)
    for step in steps:
        name = step.__name__.replace("_", "-")
        if arguments.only and name not in arguments.only:
            continue
        started = time.monotonic()
        print(f"{name}", flush=True)
        try:
            step(k8s)
        except Failed as failure:
            print(f"    FAILED after {time.monotonic() - started:.0f} s: {failure}")
            print(k8s.kubectl("get", "pods", "-o=wide", check=False))
            sys.exit(1)
        print(f"    held, {time.monotonic() - started:.0f} s", flush=True)


main()
