"""A server that takes uploads as the Hub does: repositories, LFS objects and commits."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import yaml

from tests.serving import serving


@dataclass
class UploadHub:
    """What the server has, and what it was sent.

    ``repos`` maps a repository to its files: name -> (bytes, whether it is an LFS object).
    """

    repos: dict[str, dict[str, tuple[bytes, bool]]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    created: dict[str, dict] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    received: int = 0
    fail_after: int | None = None  # bytes of objects, after which nothing works
    fail_status: int = 0  # what is answered then; 0 for no answer
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""


@contextmanager
def serve_uploads(hub: UploadHub) -> Iterator[UploadHub]:
    """Serve on a free port of the loopback interface."""
    with serving(uploads(hub)) as hub.url:
        yield hub


def uploads(hub: UploadHub) -> type[BaseHTTPRequestHandler]:
    """Return what answers for the hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = self._parts()
            repo = hub.repos.get("/".join(parts[2:4]))
            if parts[:2] != ["api", "models"] or repo is None:
                self._send({}, 401, {"X-Error-Code": "RepoNotFound"})
            elif "tree" in parts:
                self._send([_listed(name, *entry) for name, entry in repo.items()])
            else:
                self._send({"id": "/".join(parts[2:4]), "sha": "0" * 40, "siblings": []})

        def do_PUT(self) -> None:
            oid = self._parts()[-1]
            body = self._body()
            hub.received += len(body)
            if hub.fail_after is not None and hub.received > hub.fail_after:
                self.close_connection = True
                if hub.fail_status:
                    self._send({}, hub.fail_status)
                return
            assert hashlib.sha256(body).hexdigest() == oid
            hub.objects[oid] = body
            self._send({})

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            parts, body = self._parts(), self._body()
            if parts == ["api", "repos", "create"]:
                return self._create(json.loads(body))
            if parts[:2] == ["api", "validate-yaml"]:
                head = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
                errors = [] if isinstance(head, dict) else [{"message": "no mapping"}]
                return self._send({"errors": errors, "warnings": []}, 400 if errors else 200)
            if "preupload" in parts:
                return self._send({"files": [_mode(f) for f in json.loads(body)["files"]]})
            if parts[-2:] == ["objects", "batch"]:
                return self._send(
                    {"objects": [self._action(o) for o in json.loads(body)["objects"]]}
                )
            if "commit" in parts:
                return self._commit("/".join(parts[2:4]), body)
            return self._send({}, 404)

        def _create(self, wanted: dict) -> None:
            repo_id = f"{wanted['organization']}/{wanted['name']}"
            status = 409 if repo_id in hub.repos else 200
            hub.repos.setdefault(repo_id, {})
            hub.created.setdefault(repo_id, wanted)
            self._send({"url": f"{hub.url}/{repo_id}", "id": repo_id}, status)

        def _action(self, wanted: dict) -> dict:
            oid = wanted["oid"]
            if oid in hub.objects:
                return wanted
            return {**wanted, "actions": {"upload": {"href": f"{hub.url}/objects/{oid}"}}}

        def _commit(self, repo_id: str, body: bytes) -> None:
            for line in map(json.loads, body.splitlines()):
                key, value = line["key"], line["value"]
                if key == "header":
                    hub.commits.append(value["summary"])
                elif key == "file":
                    hub.repos[repo_id][value["path"]] = (base64.b64decode(value["content"]), False)
                elif key == "lfsFile":
                    hub.repos[repo_id][value["path"]] = (hub.objects[value["oid"]], True)
            url = f"{hub.url}/{repo_id}/commit/{'0' * 40}"
            self._send({"commitUrl": url, "commitOid": "0" * 40})

        def _parts(self) -> list[str]:
            return unquote(urlsplit(self.path).path).strip("/").split("/")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, value: object, status: int = 200, headers: dict | None = None) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _mode(file: dict) -> dict:
    mode = "lfs" if file["path"].endswith(".gguf") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}


def _listed(name: str, data: bytes, is_lfs: bool) -> dict:
    entry = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
    if is_lfs:
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return entry
