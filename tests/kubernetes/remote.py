"""A remote model on this machine, which pods reach, for experts without a pod of their own."""

import http.server
import json
import threading
import time
from pathlib import Path

from cluster import Failed, Kubernetes, until
from load import Client, Question

ANSWER = "the remote model"
# A program that passes its first test only, and the one that it is repaired to.
WRONG, RIGHT = ("def double(x):\n    return x ** 2", "def double(x):\n    return x + x")


def reply_to(request: str) -> str:
    if "assert statements only" in request:
        return "assert double(2) == 4\nassert double(3) == 6"
    if "one fenced code block" in request:
        program = RIGHT if "AssertionError" in request else WRONG
        return f"```python\n{program}\n```"
    return ANSWER


class Chat(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that always says the same, unless it is asked for a program."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "any", "object": "model"}]})

    def do_POST(self):
        request = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        message = {"role": "assistant", "content": reply_to(request)}
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


class Remote:
    """Experts whose model is this machine's. A context manager that ends it."""

    def __init__(self, k8s: Kubernetes):
        self.k8s = k8s
        self.server = http.server.ThreadingHTTPServer((k8s.arguments.host_ip, 0), Chat)

    def add(self, name: str) -> None:
        descriptor = (
            f"name: {name}\ndescription: A remote model that answers any question.\n"
            "capabilities: [chat]\nmodalities: [text]\nbackend: {kind: openai, config: "
            f"{{base_url: 'http://{self.k8s.arguments.host_ip}:{self.server.server_port}/v1', model: any}}}}\n"
        )
        path = Path(self.k8s.values) / f"{name}.yaml"
        path.write_text(descriptor)
        self.k8s.maestro("experts", "add", str(path), "--replace")

    def remove(self, name: str) -> None:
        self.k8s.maestro("experts", "remove", name)

    def await_answer(self, name: str) -> float:
        """Asks until the expert answers; returns for how many seconds."""
        started, client = time.monotonic(), Client(self.k8s.coordinator())
        question = Question("Who answers this?", None, "free_text", "", expert=name)
        said = []

        def answers() -> bool:
            answer, _, failed = client.ask(question)
            said.append(failed or answer)
            return answer == ANSWER

        try:
            until(f"{name} answers", answers, 60)
        except Failed as failure:
            raise Failed(f"{failure}: {said[-1]}") from None
        finally:
            client.close()
        return time.monotonic() - started

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
