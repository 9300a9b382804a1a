"""Sending to a server: what arrives, what is not sent twice, what a failing server causes.

The server here does what Ollama's documentation says of these endpoints, and checks digests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import OllamaError, OutputError
from ggufkit.publish.ollama.client import connect, refuse_tagged, send
from ggufkit.publish.ollama.names import ModelName
from ggufkit.publish.ollama.plan import plan_ollama
from tests.llama import write_llama

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass
class Ollama:
    """What the server has, and how it misbehaves."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, dict] = field(default_factory=dict)
    received: int = 0
    spoil: bool = False  # bytes change on the way
    says: tuple[str, ...] = ("parsing GGUF", "writing manifest", "success")
    error: str = ""
    tags: bytes = b""
    url: str = ""


@pytest.fixture
def server() -> Iterator[Ollama]:
    state = Ollama()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def handler(state: Ollama) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, code: int, content: bytes = b"") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def do_HEAD(self) -> None:
            self.answer(200 if self.path.removeprefix("/api/blobs/") in state.blobs else 404)

        def do_GET(self) -> None:
            assert self.path == "/api/tags"
            models = [{"model": name, "name": name} for name in state.models]
            self.answer(200, state.tags or json.dumps({"models": models}).encode())

        def do_POST(self) -> None:
            content = self.body()
            if self.path.startswith("/api/blobs/"):
                self.take(self.path.removeprefix("/api/blobs/"), content)
            else:
                assert self.path == "/api/create"
                self.create(json.loads(content))

        def take(self, digest: str, content: bytes) -> None:
            state.received += len(content)
            content = content[:-1] if state.spoil else content
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                self.answer(400, b'{"error": "digest does not match"}')
                return
            state.blobs[digest] = content
            self.answer(201)

        def create(self, asked: dict) -> None:
            missing = [name for name, digest in asked["files"].items() if digest not in state.blobs]
            error = state.error or (f"blobs missing: {missing}" if missing else "")
            lines = [{"error": error}] if error else [{"status": status} for status in state.says]
            if not error:
                state.models[asked["model"]] = asked
            self.answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    return Handler


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    source = write_llama(folder / "Tiny")
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (source / "chat_template.jinja").write_text(CHATML)
    convert(source, folder / "out", ladder="Q4_K_M,Q8_0")
    return folder / "out"


def run(server: Ollama, *arguments: object) -> int:
    return main(["ollama", *map(str, arguments), "-q", "--host", server.url])


def test_a_ladder_arrives_with_all_that_belongs_to_it(server: Ollama, ladder: Path) -> None:
    assert run(server, ladder, "--system", "Be brief.") == 0
    assert set(server.models) == {"tiny:q8_0", "tiny:q4_k_m", "tiny:latest"}
    for path in ladder.glob("*.gguf"):
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert server.blobs[digest] == path.read_bytes()
        made = [asked for asked in server.models.values() if path.name in asked["files"]]
        assert {asked["files"][path.name] for asked in made} == {digest}
    made = server.models["tiny:latest"]
    (entry, *_) = plan_ollama(str(ladder))
    assert made["template"] == entry.model.template.text != ""
    assert (made["system"], made["license"]) == ("Be brief.", ["apache-2.0"])
    assert made["parameters"] == entry.model.json_parameters


def test_what_the_server_has_is_not_sent_again(server: Ollama, ladder: Path) -> None:
    assert run(server, ladder) == 0
    sent = server.received
    assert sent == sum(path.stat().st_size for path in ladder.glob("*.gguf"))
    assert run(server, ladder) == 3  # the names are taken
    assert run(server, ladder, "--force") == 0
    assert server.received == sent


def test_a_dry_run_sends_nothing(server: Ollama, ladder: Path, capsys) -> None:
    assert run(server, ladder, "--dry-run", "--json") == 0
    assert [entry["done"] for entry in json.loads(capsys.readouterr().out)] == ["to send"] * 2
    assert (server.received, server.models) == (0, {})


def test_progress_counts_what_is_sent_or_there(server: Ollama, ladder: Path) -> None:
    (entry, *_) = plan_ollama(str(ladder))
    counts = []
    for _ in range(2):
        seen: list[int] = []
        with connect(server.url, seen.append) as client:
            send(client, entry.model, entry.names)
        counts.append(sum(seen))
    assert counts == [entry.model.n_bytes] * 2


def test_names_are_compared_without_case(server: Ollama) -> None:
    server.models["Tiny:Q8_0"] = {}
    with connect(server.url) as client, pytest.raises(OutputError, match="--force"):
        refuse_tagged(client, [ModelName.parse("tiny:Q8_0")])


def test_bytes_that_change_on_the_way_are_noticed(server: Ollama, ladder: Path) -> None:
    server.spoil = True
    (entry, *_) = plan_ollama(str(ladder))
    with pytest.raises(OllamaError, match="digest does not match"), connect(server.url) as client:
        send(client, entry.model, entry.names)
    assert not server.models


@pytest.mark.parametrize(
    ("says", "error", "message"),
    [
        (("parsing GGUF",), "", "ended with"),
        ((), "", "ended with"),
        ((), "unsupported architecture", "unsupported architecture"),
    ],
)
def test_a_server_that_does_not_succeed(
    server: Ollama, ladder: Path, says: tuple[str, ...], error: str, message: str
) -> None:
    server.says, server.error = says, error
    (entry, *_) = plan_ollama(str(ladder))
    with pytest.raises(OllamaError, match=message), connect(server.url) as client:
        send(client, entry.model, entry.names)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"models": 7}', b"\xff"])
def test_something_that_is_no_ollama(server: Ollama, ladder: Path, answer: bytes) -> None:
    server.tags = answer
    assert run(server, ladder) == 3


@pytest.mark.parametrize("host", ["http://x:port", "http://[", "http://\x00"])
def test_an_address_that_is_none(ladder: Path, host: str) -> None:
    assert main(["ollama", str(ladder), "-q", "--host", host]) == 3


def test_no_server(ladder: Path, capsys) -> None:
    assert main(["ollama", str(ladder), "-q", "--host", "http://127.0.0.1:9"]) == 3
    assert "is it running?" in capsys.readouterr().err


def test_names_of_files_that_the_server_would_refuse(
    server: Ollama, ladder: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a:b\\c.gguf"
    shutil.copy(next(ladder.glob("*Q8_0.gguf")), odd)
    assert run(server, odd, "--name", "odd", "--tag", "x") == 0
    assert set(server.models["odd:x"]["files"]) == {"model.gguf"}
