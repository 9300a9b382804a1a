"""A server of byte ranges, with faults on demand; it counts what it sends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.serving import serving


@dataclass
class Ranges:
    """What is served, and what was asked.

    `faults` are used up one per request: a status, "cut" (the answer breaks off), "reset" (no
    answer), "whole" (status 200), or a Content-Range to lie with.
    """

    folder: Path
    faults: list[object] = field(default_factory=list)
    sent: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    redirect_to: str = ""
    url: str = ""


@contextmanager
def serve_ranges(ranges: Ranges) -> Iterator[Ranges]:
    """Serve on a free port of the loopback interface."""
    with serving(_handler(ranges)) as ranges.url:
        yield ranges


def _handler(ranges: Ranges) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            ranges.asked.append((self.path, wanted))
            ranges.tokens.append(self.headers.get("Authorization"))
            if ranges.redirect_to:
                return self._head(302, 0, Location=ranges.redirect_to + self.path)
            fault = ranges.faults.pop(0) if ranges.faults else None
            path = ranges.folder / self.path.rpartition("/")[2]
            if isinstance(fault, int):
                return self._head(fault, 0)
            if fault == "reset":
                self.close_connection = True
                return None
            if not path.is_file():
                return self._head(404, 0)
            size = path.stat().st_size
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first or 0), min(int(last or size - 1), size - 1)
            n = end - start + 1
            told = fault if isinstance(fault, str) and "bytes" in fault else None
            content_range = told or f"bytes {start}-{end}/{size}"
            headers = {} if fault == "whole" else {"Content-Range": content_range}
            self._head(200 if fault == "whole" else 206, n, **headers)
            with path.open("rb") as file:
                os.lseek(file.fileno(), start, os.SEEK_SET)
                if fault == "cut":
                    self.close_connection = True
                    n //= 2
                while n:
                    data = os.read(file.fileno(), min(n, 1 << 16))
                    ranges.sent += len(data)
                    n -= len(data)
                    self.wfile.write(data)
            return None

        def _head(self, status: int, length: int, **headers: str) -> None:
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(
                    name.replace("_", "-").replace("ContentRange", "Content-Range"), text
                )
            self.send_header("Content-Length", str(length))
            self.end_headers()

    return Handler
