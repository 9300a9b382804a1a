"""A Hub of one's own: serves a folder over the part of the Hub's HTTP protocol that downloads use.

``GET /api/models/ID[/revision/REV]`` names the commit, ``GET /api/models/ID/tree/COMMIT`` lists
files, and ``HEAD`` and ``GET /ID/resolve/REV/FILE`` send them.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.serving import serving


class Hub:
    """What the server knows, the requests it has seen and the bytes of files it has sent.

    `repos` maps repository id -> revision name -> folder. A folder's commit is made from its name.
    """

    def __init__(self, repos: dict[str, dict[str, Path]]) -> None:
        self.repos = repos
        self.requests: list[str] = []
        self.sent: dict[str, int] = {}
        self.tokens: set[str | None] = set()
        self.gated: set[str] = set()
        self.cut_off: set[str] = set()
        self.fault_rate = 0.0  # of answers to ranges of weights
        self.rng = random.Random(0)
        self.faults = 0
        self.delay = 0.0  # seconds before an answer to a range of weights
        self.url = ""

    def find(self, repo_id: str, revision: str) -> Path | None:
        revisions = self.repos.get(repo_id, {})
        for name, folder in revisions.items():
            if revision in (name, commit_of(folder)):
                return folder
        return None

    @property
    def fetched(self) -> set[str]:
        """Names of the files whose bytes were sent."""
        return {
            line.split("/resolve/")[1].split("/", 1)[1]
            for line in self.requests
            if line.startswith("GET") and "/resolve/" in line
        }


def commit_of(folder: Path) -> str:
    """The commit id of a folder."""
    return hashlib.sha1(folder.name.encode()).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of the loopback interface."""
    with serving(downloads(hub)) as hub.url:
        yield hub


def downloads(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return what answers for the hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(send_body=False)

        def do_GET(self) -> None:
            self._answer(send_body=True)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            hub.requests.append(f"{self.command} {self.path}")

        def _answer(self, *, send_body: bool) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            is_api = parts[:2] == ["api", "models"]
            if is_api:
                parts = parts[2:]
            repo_id, rest = "/".join(parts[:2]), parts[2:]
            if repo_id not in hub.repos:
                return self._error(401 if is_api else 404, "RepoNotFound")
            if repo_id in hub.gated and not is_api:
                return self._error(403, "GatedRepo")
            folder = hub.find(repo_id, rest[1] if len(rest) > 1 else "main")
            if folder is None:
                return self._error(404, "RevisionNotFound")
            if not is_api:
                return self._send_file(folder, "/".join(rest[2:]), send_body=send_body)
            if rest[:1] == ["tree"]:
                return self._send_json(_tree(folder))
            return self._send_json({"id": repo_id, "sha": commit_of(folder), "siblings": []})

        def _error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _fault(self, path: Path) -> bool:
            """Fail, now and then: an error, no answer, or half of one."""
            wanted = self.headers.get("Range") and path.suffix == ".safetensors"
            if wanted:
                time.sleep(hub.delay)
            if not wanted or hub.rng.random() >= hub.fault_rate:
                return False
            hub.faults += 1
            kind = hub.rng.choice(["error", "reset", "cut"])
            if kind == "error":
                self._error(503, "Busy")
                return True
            self.close_connection = True
            if kind == "cut":
                self.send_response(206)
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                length = int(last) - int(first) + 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{path.stat().st_size}")
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(bytes(length // 2))
            return True

        def _send_file(self, folder: Path, name: str, *, send_body: bool) -> None:
            path = folder / name
            if not path.is_file():
                self._error(404, "EntryNotFound")
                return
            if self._fault(path):
                return
            body = path.read_bytes()
            begin, size = 0, len(body)
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                begin = int(first)
                body = body[: int(last) + 1] if last else body
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("ETag", f'"{_etag(path)}"')
            self.send_header("X-Repo-Commit", commit_of(folder))
            self.send_header("Content-Length", str(len(body) - begin))
            self.end_headers()
            hub.sent[name] = hub.sent.get(name, 0) + send_body * (len(body) - begin)
            if send_body and name in hub.cut_off:
                self.close_connection = True
                self.wfile.write(body[begin : begin + 1])
            elif send_body:
                self.wfile.write(body[begin:])

    return Handler


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _tree(folder: Path) -> list[dict[str, object]]:
    return [
        {
            "type": "file",
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "oid": _etag(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
