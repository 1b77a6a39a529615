"""etcd on persistent volumes: a member that is replaced, and the restore as docs/backup.md has it."""

import json
import os
import re
import time
from pathlib import Path

from cluster import MEMBERS, RELEASE, Failed, Kubernetes, flawless, require, until
from load import REPOSITORY, Load
from remote import Remote

# Images of the documentation, and what is on the nodes in their place.
IMAGES = {
    "docker.io/library/busybox:1.37": "localhost/busybox:test",
    "quay.io/coreos/etcd:v3.5.21": "localhost/etcd:test",
}


def documented() -> list[str]:
    """The commands of docs/backup.md for Kubernetes, block by block."""
    text = (REPOSITORY / "docs/backup.md").read_text("utf-8")
    section = re.search(r"(?ms)^### On Kubernetes$(.*?)^## ", text)
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", section[1] if section else "")
    require(len(blocks) == 4, f"docs/backup.md has {len(blocks)} blocks: not snapshot, stop, restore, start")
    for name, ours in IMAGES.items():
        require(any(name in block for block in blocks), f"docs/backup.md does not name {name}")
        blocks = [block.replace(name, ours) for block in blocks]
    return blocks


def shell(k8s: Kubernetes, commands: str) -> None:
    """Runs a block of the documentation as a person would type it, in the folder of the values."""
    tools = Path(k8s.values) / "bin"
    tools.mkdir(exist_ok=True)
    kubectl = tools / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {k8s.arguments.kubectl} --kubeconfig={k8s.arguments.kubeconfig} "$@"\n')
    kubectl.chmod(0o755)
    path = f"PATH={tools}:{os.environ['PATH']}"
    started = time.monotonic()
    k8s.command("env", "-C", k8s.values, path, "timeout", "600", "bash", "-euc", commands)
    first = commands.strip().splitlines()[0]
    print(f"    {time.monotonic() - started:3.0f} s: {first} …")


def catalogue(k8s: Kubernetes) -> dict[str, dict]:
    """What is registered of each expert, without the processes that serve it."""
    experts = map(json.loads, k8s.maestro("experts", "list", "--json").splitlines())
    return {expert["name"]: {key: expert[key] for key in expert if key != "instances"} for expert in experts}


def etcd_member_replaced(k8s: Kubernetes) -> None:
    """A member's pod that is deleted comes back with its data, while the others serve."""
    name = f"{RELEASE}-etcd-0"
    ready = lambda: k8s.kubectl(
        "get", "pod", name, "-o=jsonpath={.metadata.uid} {.status.containerStatuses[0].ready}", check=False
    ).split()
    before, _ = ready()
    with Load(k8s.coordinator()) as under_load:
        k8s.kubectl("delete", "pod", name)
        deleted = time.monotonic()
        until(f"{name} is ready again", lambda: ready()[1:] == ["true"] and ready()[0] != before)
        print(f"    ready {time.monotonic() - deleted:.0f} s after the pod's end")
        time.sleep(3)
    flawless(under_load.result)
    log = k8s.kubectl("logs", name)
    require("server has been already initialized" in log, f"it found no data: {log[:600]}")


def restore_of_the_registry(k8s: Kubernetes) -> None:
    """Snapshot and restore by the documented commands, while episodes run."""
    snapshot, stop, restore, start = documented()
    with Remote(k8s) as remote:
        remote.add("kept")
        remote.await_answer("kept")
        then = catalogue(k8s)
        shell(k8s, snapshot)
        remote.remove("kept")
        remote.add("later")
        remote.await_answer("later")
        require(set(then) ^ set(catalogue(k8s)) == {"kept", "later"}, f"unexpected: {set(catalogue(k8s))}")
        with Load(k8s.coordinator()) as without_etcd:
            shell(k8s, stop)
            shell(k8s, restore)
        flawless(without_etcd.result)
        with Load(k8s.coordinator()) as coming_back:
            shell(k8s, start)
            for name in k8s.kubectl("get", "deployment", "-l=app.kubernetes.io/name=maestro", "-o=name").split():
                k8s.kubectl("rollout", "status", name, "--timeout=5m")
        # Revisions from before and after meet until all is restarted, as docs/backup.md says.
        print(f"    {coming_back.result}")
        require(coming_back.result.answered > 0 and not coming_back.result.wrong, "nothing, or wrongly answered")
        until("the catalogue is that of the snapshot", lambda: catalogue(k8s) == then)
        print(f"    restored: {', '.join(sorted(then))}; kept answers after {remote.await_answer('kept'):.1f} s")
        remote.remove("kept")


def etcd_size_is_fixed(k8s: Kubernetes) -> None:
    """An upgrade that changes the number of members is refused before it changes anything."""
    before = k8s.get("statefulset", f"{RELEASE}-etcd")["spec"]
    try:
        k8s.upgrade({"etcd": {"replicas": MEMBERS + 2}})
    except Failed as refused:
        require("etcd.replicas" in str(refused), f"refused for another reason: {refused}")
    else:
        raise Failed("the upgrade was taken")
    require(k8s.get("statefulset", f"{RELEASE}-etcd")["spec"] == before, "the StatefulSet was changed")
