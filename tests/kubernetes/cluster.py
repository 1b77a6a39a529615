"""The chart on a cluster, by helm and kubectl, and what is needed to check it."""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import load
from load import REPOSITORY

RELEASE, NAMESPACE, MEMBERS = "maestro", "maestro", 3
COORDINATOR = "app.kubernetes.io/component=coordinator"
# What the test changes of the chart's values: images that are on the nodes, blobs in a folder that
# the nodes share, requests that leave room on small nodes for the pods that a rolling update adds.
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}}
VALUES = {
    "coordinator": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "policyWorker": {"replicas": 2, "resources": SMALL},
    "skillRunner": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "adoptingExperts": {"replicas": 1, "drainSeconds": 20, "resources": SMALL},
    "expertDefaults": {"replicas": 2, "drainSeconds": 20, "resources": SMALL},
    "etcd": {
        "resources": SMALL,
        "replicas": MEMBERS,
        "image": {"registry": "localhost", "repository": "etcd", "tag": "test"},
    },
    "blobs": {"volume": {"existingClaim": "maestro-blobs", "accessModes": ["ReadWriteMany"]}},
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

    def offer_volumes(self) -> None:
        """Makes folders that the nodes share into the volumes of the blobs and of etcd's members.

        A `hostPath` is not given to the pods' group, so the folders let everyone write. A cluster has
        folders of its own: etcd must not find the data of another one.
        """
        cluster = self.get("namespace", "kube-system")["metadata"]["uid"]
        claims = {"maestro-blobs": "ReadWriteMany"}
        claims |= {f"data-{RELEASE}-etcd-{member}": "ReadWriteOnce" for member in range(MEMBERS)}
        for claim, mode in claims.items():
            folder = Path(self.arguments.shared) / cluster / claim
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            spec = {
                "capacity": {"storage": "8Gi"},
                "accessModes": [mode],
                "hostPath": {"path": str(folder), "type": "Directory"},
                "claimRef": {"namespace": NAMESPACE, "name": claim},
                "persistentVolumeReclaimPolicy": "Retain",
            }
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim}, "spec": spec}
            self.kubectl("apply", "-f=-", text=json.dumps(volume))

    def maestro(self, *words: str) -> str:
        return self.command(self.arguments.maestro, *words, "--endpoint", f"http://{self.coordinator()}")

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
