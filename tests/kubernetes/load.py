"""Episodes without a pause, from a client that was built from the protos alone."""

import importlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


def build_client() -> None:
    """Generates the stubs into a folder on the module path."""
    protos, target = REPOSITORY / "proto", tempfile.mkdtemp(prefix="maestro-client-")
    files = sorted(str(path.relative_to(protos)) for path in protos.glob("maestro/v1/*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    command = ["protoc", f"-I{protos}", f"-I{include}"]
    command += [f"--python_out={target}", f"--grpc_python_out={target}", *files]
    if protoc.main(command):
        raise SystemExit("the protos do not compile")
    sys.path.insert(0, target)


def module(name: str):
    return importlib.import_module(f"maestro.v1.{name}")


@dataclass
class Question:
    text: str
    image: bytes | None
    kind: str
    truth: str
    expert: str = ""
    skill: str = ""


def diagrams() -> list[Question]:
    """The project's own diagrams, with their truth."""
    lines = (REPOSITORY / "demo/tasks.jsonl").read_text("utf-8").splitlines()
    tasks = [json.loads(line) for line in lines]
    return [
        Question(
            task["question"],
            (REPOSITORY / "demo" / task["images"][0]).read_bytes(),
            task["answer_kind"].replace("-", "_"),
            task["answer"],
        )
        for task in tasks
        if task["kind"] == "diagram"
    ]


class Client:
    def __init__(self, address: str):
        # A connection is given up when its server goes away silently, as in a lost node.
        options = [
            ("grpc.keepalive_time_ms", 5_000),
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self.channel = grpc.insecure_channel(address, options=options)
        self.stub = module("episode_service_pb2_grpc").EpisodeServiceStub(self.channel)

    def ask(self, question: Question, timeout: float = TIMEOUT_S):
        """The answer, the experts that were asked, and what went wrong, if anything did."""
        tasks, episodes = module("task_pb2"), module("episode_service_pb2")
        task = tasks.Task(question=question.text)
        getattr(task.answer_kind, question.kind).SetInParent()
        if question.image is not None:
            task.images.add(content=question.image)
        if question.expert or question.skill:
            task.constraints.allowed.add(expert=question.expert, skill=question.skill)
        try:
            request = episodes.RunEpisodeRequest(task=task)
            for message in self.stub.RunEpisode(request, timeout=timeout):
                event = message.event
                if event.WhichOneof("event") == "ended":
                    conclusion = event.ended.conclusion
                    how = conclusion.termination.WhichOneof("termination")
                    asked = [step.decision.action.invoke.pair.expert for step in event.ended.steps]
                    failed = None if how == "answered" else f"{how}: {conclusion.termination}"
                    return conclusion.answer.value, [name for name in asked if name], failed
        except grpc.RpcError as error:
            return "", [], f"{error.code().name}: {error.details()}"
        return "", [], "the stream ended before the episode"

    def close(self) -> None:
        self.channel.close()


@dataclass
class Result:
    answered: int = 0
    wrong: int = 0
    failures: Counter = field(default_factory=Counter)
    slowest_s: float = 0.0

    def __str__(self) -> str:
        failed = sum(self.failures.values())
        text = f"{self.answered} answered, {self.wrong} wrong, {failed} failed, slowest {self.slowest_s:.2f} s"
        return text + "".join(f"\n      {count} x {why}" for why, count in self.failures.most_common(5))


class Load:
    """Asks from some threads until it is stopped. A context manager."""

    def __init__(self, address: str, threads: int = 3, pause_s: float = 0.05):
        self.address, self.pause_s = address, pause_s
        self.result, self.lock, self.stopping = Result(), threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(threads)]

    def run(self, offset: int) -> None:
        client, questions = Client(self.address), diagrams()
        number = offset
        while not self.stopping.is_set():
            question = questions[number % len(questions)]
            number += 1
            started = time.monotonic()
            answer, _, failed = client.ask(question)
            with self.lock:
                self.result.slowest_s = max(self.result.slowest_s, time.monotonic() - started)
                if failed:
                    self.result.failures[failed] += 1
                else:
                    self.result.answered += 1
                    self.result.wrong += answer.replace(" ", "").lower() != question.truth.lower()
            self.stopping.wait(self.pause_s)
        client.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
