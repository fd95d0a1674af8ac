"""A chat server on a real socket that answers, or misbehaves in every way a test asks for."""

import contextlib
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def completion(text, finish="stop", usage=(11, 3)):
    """A chat completion as servers send it."""
    message = {"role": "assistant", "content": text}
    found: dict = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    if usage:
        found["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return json.dumps(found).encode()


def last_text(body):
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


class ChatServer(ThreadingHTTPServer):
    """`plan(body, place)` handles the request that came as number `place`, by the `Reply` it is
    given; without one every question is echoed."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.plan = lambda handler, body, place: handler.answer(completion(last_text(body)))
        self.asked = []  # (time, headers, body)
        self.active = self.most_active = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def texts(self):
        return [last_text(body) for _, _, body in self.asked]

    def handle_error(self, request, client_address):
        """A client that left early is no news."""


class Handler(BaseHTTPRequestHandler):
    server: ChatServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            place = len(self.server.asked)
            self.server.asked.append((time.monotonic(), dict(self.headers), body))
            self.server.active += 1
            self.server.most_active = max(self.server.most_active, self.server.active)
        try:
            self.server.plan(self, body, place)
        finally:
            with self.server.lock:
                self.server.active -= 1

    def answer(self, data, status=200, kind="application/json", length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        if length is not None:
            self.close_connection = True

    def error(self, status, message="", **headers):
        self.answer(json.dumps({"error": {"message": message}}).encode(), status, **headers)

    def reset(self):
        """Closes with RST, as a crashed server or a firewall does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def hang(self, seconds=20):
        self.server.stopped.wait(seconds)
        self.close_connection = True

    def trickle(self, data, pause=0.05):
        """A byte at a time: every single read is in time, the whole never is."""
        with contextlib.suppress(OSError):
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.server.stopped.wait(pause):
                    break
        self.close_connection = True

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chat = ChatServer()
    thread = threading.Thread(target=chat.serve_forever, args=(0.02,))
    thread.start()
    yield chat
    chat.stopped.set()
    chat.shutdown()
    thread.join()
    chat.server_close()


@pytest.fixture
def chat_completion():
    return completion
