#!/usr/bin/env python3
"""A client built from the protos alone: adds an expert, runs an episode, prints its answer.

    episode.py PROTO_DIR HOST:PORT CHAT_BASE_URL
"""

import sys
import tempfile
import time
from pathlib import Path

import grpc
from grpc_tools import protoc

TIMEOUT_S = 60


def build(protos: Path, target: str) -> None:
    files = sorted(str(path.relative_to(protos)) for path in protos.glob("maestro/v1/*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    command = ["protoc", f"-I{protos}", f"-I{include}"]
    command += [f"--python_out={target}", f"--grpc_python_out={target}", *files]
    if protoc.main(command):
        raise SystemExit("the protos do not compile")
    sys.path.insert(0, target)


def main() -> None:
    protos, address, chat = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory() as target:
        build(protos, target)
        from maestro.v1 import episode_service_pb2 as episodes
        from maestro.v1 import episode_service_pb2_grpc as episode_stubs
        from maestro.v1 import registry_pb2 as registry
        from maestro.v1 import registry_service_pb2 as registrations
        from maestro.v1 import registry_service_pb2_grpc as registry_stubs
        from maestro.v1 import task_pb2 as tasks

        channel = grpc.insecure_channel(address)
        descriptor = registry.ExpertDescriptor(
            name="python-made",
            description="Answers any short question.",
            capabilities=["chat"],
            modalities=[registry.MODALITY_TEXT],
            price=registry.Price(),
        )
        descriptor.backend.kind = "openai"
        descriptor.backend.config.update({"base_url": chat, "model": "test"})
        stub = registry_stubs.RegistryServiceStub(channel)
        stub.RegisterExpert(
            registrations.RegisterExpertRequest(descriptor=descriptor), timeout=TIMEOUT_S
        )
        until = time.monotonic() + TIMEOUT_S
        while not any(
            entry.instances
            for entry in stub.ListExperts(registrations.ListExpertsRequest()).experts
            if entry.descriptor.name == "python-made"
        ):
            if time.monotonic() > until:
                raise SystemExit("the expert never served")
            time.sleep(0.05)

        task = tasks.Task(question="What is six times seven?")
        task.constraints.allowed.add(expert="python-made", skill="direct")
        request = episodes.RunEpisodeRequest(task=task)
        stub = episode_stubs.EpisodeServiceStub(channel)
        for message in stub.RunEpisode(request, timeout=TIMEOUT_S):
            event = message.event
            if event.WhichOneof("event") == "ended":
                conclusion = event.ended.conclusion
                print(conclusion.termination.WhichOneof("termination"), conclusion.answer.value)
                return
        raise SystemExit("the stream ended before the episode")


main()
