#!/usr/bin/env python3
"""Installs the chart on a real Kubernetes and checks it while episodes run. See README.md."""

import argparse
import json
import sys
import time

import load
from cluster import NAMESPACE, RELEASE, Failed, Kubernetes, flawless, require, until
from load import REPOSITORY, Client, Load, Question
from remote import RIGHT, Remote
from restore import etcd_member_replaced, etcd_size_is_fixed, restore_of_the_registry

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


def install(k8s: Kubernetes) -> None:
    k8s.command(k8s.arguments.kubectl, f"--kubeconfig={k8s.arguments.kubeconfig}", "create", "namespace", NAMESPACE, check=False)
    k8s.offer_volumes()
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
    k8s.kubectl("apply", "-f=-", text=json.dumps(claim))
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


def add_expert_by_command(k8s: Kubernetes) -> None:
    before = set(k8s.pods())
    with Remote(k8s) as remote, Load(k8s.coordinator()) as under_load:
        remote.add("remote")
        print(f"    the remote model answered {remote.await_answer('remote'):.2f} s after the command")
        remote.remove("remote")
        time.sleep(3)
    flawless(under_load.result)
    require(set(k8s.pods()) == before and k8s.restarts() == 0, "pods were replaced or restarted")


def programs_run_in_the_sandbox(k8s: Kubernetes) -> None:
    """In pods under the chart's own security contexts: only what ran can have been repaired."""
    with Remote(k8s) as remote:
        remote.add("coder")
        remote.await_answer("coder")
        client = Client(k8s.coordinator())
        for _ in range(4):
            question = Question("Write double(x).", None, "program", RIGHT, expert="coder", skill="code-problem")
            answer, _, failed = client.ask(question)
            require(failed is None and answer == RIGHT, f"{failed}: {answer}")
        client.close()
        remote.remove("coder")


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
    parser.add_argument("--shared", required=True, help="a folder that the nodes and this machine share")
    parser.add_argument("--gpu", help="command that makes NODE offer COUNT GPUs")
    parser.add_argument("--cut", help="command that cuts NODE off the network")
    parser.add_argument("--heal", help="command that connects NODE again")
    parser.add_argument("--only", nargs="*", help="run these steps alone")
    arguments = parser.parse_args()
    load.build_client()
    steps = [
        install,
        foreign_client,
        upgrade_adds_an_expert,
        add_expert_by_command,
        programs_run_in_the_sandbox,
        rolling_update_and_rollback,
        etcd_size_is_fixed,
        etcd_member_replaced,
        restore_of_the_registry,
    ]
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
