#!/usr/bin/env python3
"""Checks the policy worker's image on a GPU, through Vulkan.

    images/check-gpu.py ARCHIVE --programs DIR [--etcd DIR]

ARCHIVE is the `policy-worker-vulkan.tar` of build.sh, plain or compressed. DIR holds the release
builds of the other programs (coordinator, expert worker, skill runner, maestro), and etcd, if not
elsewhere. As root, on a machine with an NVIDIA driver and no need of an engine: the image is
unpacked, gets the driver's files as NVIDIA's container runtime would give them, and runs as its own
user on a root that cannot be written to. The demonstration's diagrams are then asked through it and
through the same program on the CPU: both must be right, and of one opinion.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
USER = "65532"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
# What NVIDIA's runtime mounts for the capabilities `graphics` and `utility`.
DRIVER = ["libGLX_nvidia.so*", "libEGL_nvidia.so*", "libnvidia-*.so*", "libcuda.so*"]
# How far the probabilities of two devices may lie apart.
TOLERANCE = 1e-3
REPEATS = 40


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def unpack(archive: Path, root: Path) -> None:
    with tarfile.open(archive) as image:
        for layer in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                files.extractall(root, filter="fully_trusted")


def add_driver(root: Path) -> None:
    """Copies the driver's libraries and its description for Vulkan's loader into the root."""
    folders = ["/usr/local/nvidia", "/usr/lib/x86_64-linux-gnu", "/usr/share", "/etc"]
    found = [path for folder in folders for path in Path(folder).rglob("nvidia_icd*.json")]
    if not found:
        raise SystemExit("no nvidia_icd.json: is the driver there?")
    target = root / "etc/vulkan/icd.d"
    target.mkdir(parents=True, exist_ok=True)
    # Without a folder in it the loader asks the dynamic linker.
    text = re.sub(r'"library_path"\s*:\s*"[^"]*/', '"library_path": "', found[0].read_text())
    (target / "nvidia_icd.json").write_text(text)
    # NVIDIA's library for Vulkan asks for its own through the dispatcher of EGL.
    vendors = root / "usr/share/glvnd/egl_vendor.d"
    vendors.mkdir(parents=True, exist_ok=True)
    for path in [path for folder in folders for path in Path(folder).rglob("10_nvidia.json")][:1]:
        shutil.copy(path, vendors)
    (root / LIBRARIES).mkdir(parents=True, exist_ok=True)
    for folder in ["/usr/local/nvidia", "/usr/lib/x86_64-linux-gnu"]:
        for pattern in DRIVER:
            for library in Path(folder).rglob(pattern):
                if not (root / LIBRARIES / library.name).exists():
                    shutil.copy(library, root / LIBRARIES / library.name)
    subprocess.run(["ldconfig", "-r", str(root)], check=True, stderr=subprocess.DEVNULL)


class Programs:
    """What runs, each inside the image's root, with a log. A context manager that ends all of it."""

    def __init__(self, scratch: Path, root: Path, others: Path):
        self.scratch, self.root, self.others, self.running = scratch, root, others, []
        for folder in ("programs", "scratch", "dev", "proc", "sys", "tmp"):
            (root / folder).mkdir(exist_ok=True)
        os.chmod(scratch, 0o777)

    def start(self, name: str, program: str, *arguments: str) -> None:
        """In mounts of its own: the root is read-only, the scratch folder and /tmp are not."""
        script = (
            f"mount --bind {self.root} {self.root} && mount --bind {self.others} {self.root}/programs"
            f" && mount --bind {self.scratch} {self.root}/scratch && mount --rbind /dev {self.root}/dev"
            f" && mount --rbind /sys {self.root}/sys"
            f" && mount -t proc none {self.root}/proc && mount -t tmpfs none {self.root}/tmp"
            f" && mount -o remount,bind,ro {self.root}"
            f' && exec chroot --userspec={USER}:{USER} {self.root} "$@"'
        )
        log = open(self.scratch / f"{name}.log", "ab")
        command = ["unshare", "--mount", "bash", "-c", script, name, program, *arguments]
        self.running.append(subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "VK_LOADER_DEBUG": "error,driver"}))

    def service(self, name: str, program: str, settings: dict) -> None:
        (self.scratch / f"{name}.yaml").write_text(json.dumps(settings))  # JSON is YAML.
        self.start(name, program, "--config", f"/scratch/{name}.yaml")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.kill()
            process.wait()


def start_all(programs: Programs) -> dict[str, int]:
    """etcd, one expert and one skill runner for both; a coordinator and a policy worker a device."""
    names = ["etcd", "peer", "expert", "runner"]
    names += [f"{part}-{device}" for device in ("vulkan", "cpu") for part in ("worker", "metrics", "coordinator")]
    ports = {name: free_port() for name in names}
    at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    programs.start(
        "etcd", "/programs/etcd", "--data-dir=/scratch/etcd", f"--listen-client-urls={at['etcd']}",
        f"--advertise-client-urls={at['etcd']}", f"--listen-peer-urls={at['peer']}",
        f"--initial-advertise-peer-urls={at['peer']}", f"--initial-cluster=default={at['peer']}",
    )
    etcd = {"endpoints": [at["etcd"]]}
    remote = {"remote": {"endpoints": [at["coordinator-cpu"]]}}
    listen = lambda name: {"serve": {"listen": f"127.0.0.1:{ports[name]}"}}
    for device in ("vulkan", "cpu"):
        programs.service(f"coordinator-{device}", "/programs/maestro-coordinator", {
            "etcd": etcd, "blobs": {"store": {"url": "file:///scratch/blobs"}},
            "service": listen(f"coordinator-{device}")
            | {"policy_workers": [at[f"worker-{device}"]], "skill_runners": [at["runner"]]}})
        programs.service(f"worker-{device}", "/usr/bin/maestro-policy-worker", {
            "etcd": etcd, "blobs": remote, "metrics": f"127.0.0.1:{ports[f'metrics-{device}']}",
            "service": listen(f"worker-{device}") | {"device": device}})
    programs.service("runner", "/programs/maestro-skill-runner", {
        "etcd": etcd, "blobs": remote, "service": listen("runner") | {"library": "register"}})
    programs.service("expert", "/programs/maestro-expert-worker", {
        "etcd": etcd, "blobs": remote, "service": listen("expert") | {"experts": [{
            "name": "diagrams", "description": "Measures and counts shapes in flat drawings.",
            "capabilities": ["analyze"], "modalities": ["image"], "price": {"per_call": 0},
            "backend": {"kind": "analysis"}}]}})
    return ports


def ask(maestro: Path, port: int, task: dict) -> dict | None:
    """The finished episode; None where it failed."""
    done = subprocess.run(
        [str(maestro), "run", task["question"], "--image", str(REPOSITORY / "demo" / task["images"][0]),
         "--kind", task["answer_kind"], "--json", "--endpoint", f"http://127.0.0.1:{port}"],
        capture_output=True, text=True, check=False)
    episode = json.loads(done.stdout) if done.returncode == 0 else {}
    return episode if episode.get("answer") is not None else None


def mean_inference_us(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    read = lambda suffix: sum(
        float(value) for value in re.findall(rf"^maestro_policy_inference_duration_seconds_{suffix}\S* (\S+)$", text, re.M))
    return 1e6 * read("sum") / max(read("count"), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--logs", type=Path, help="where the programs' logs are left")
    arguments = parser.parse_args()
    tasks = [json.loads(line) for line in (REPOSITORY / "demo/tasks.jsonl").read_text("utf-8").splitlines()]
    tasks = [task for task in tasks if task["kind"] == "diagram"]
    scratch = Path(tempfile.mkdtemp(prefix="maestro-gpu-"))
    root = scratch / "image"
    unpack(arguments.archive, root)
    add_driver(root)
    maestro = arguments.programs.resolve() / "maestro"
    failures = 0
    with Programs(scratch, root, arguments.programs.resolve()) as programs:
        ports = start_all(programs)
        try:
            started = time.monotonic()
            for device in ("cpu", "vulkan"):
                while ask(maestro, ports[f"coordinator-{device}"], tasks[0]) is None:
                    if time.monotonic() - started > 180:
                        raise SystemExit(f"FAILED: no answer through {device} within 180 s")
                    time.sleep(1)
                print(f"{device}: first answer after {time.monotonic() - started:.1f} s", flush=True)
            for task in tasks:
                cpu, gpu = (ask(maestro, ports[f"coordinator-{device}"], task) for device in ("cpu", "vulkan"))
                seen = [[(step["expert"], step["skill"], step["probability"]) for step in run["steps"]] for run in (cpu, gpu)]
                apart = max(abs(a[2] - b[2]) for a, b in zip(*seen, strict=True))
                same = [step[:2] for step in seen[0]] == [step[:2] for step in seen[1]]
                right = gpu["answer"].replace(" ", "").lower() == task["answer"].lower()
                held = same and right and apart <= TOLERANCE
                failures += not held
                print(f"{'ok    ' if held else 'FAILED'} {task['id']}: {gpu['answer']}, probabilities apart {apart:.1e}")
            for _ in range(REPEATS):
                for device in ("cpu", "vulkan"):
                    ask(maestro, ports[f"coordinator-{device}"], tasks[0])
            for device in ("cpu", "vulkan"):
                print(f"{device}: {mean_inference_us(ports[f'metrics-{device}']):.0f} µs a forward pass, on average")
        finally:
            if arguments.logs:
                arguments.logs.mkdir(parents=True, exist_ok=True)
                for log in scratch.glob("*.log"):
                    shutil.copy(log, arguments.logs)
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(failures > 0)


main()
