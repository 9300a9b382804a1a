"""The real llama.cpp, looking at a picture, in a process of its own.

python llama_sight.py MODEL MMPROJ      the number of tokens of a prompt with a picture
"""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path


def prompt_tokens(model: Path, mmproj: Path) -> int:
    """Return how many tokens a picture of 112 x 112 and a word become."""
    command = [sys.executable, __file__, str(model), str(mmproj)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return int(done.stdout.splitlines()[-1])


def _picture(width: int, height: int) -> bytes:
    """Return a PNG file with a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = (b"\0" + bytes((x * 7 + y * 5) % 256 for x in range(3 * width)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def _main(model: str, mmproj: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.mmproj.path = mmproj
    params.mmproj_use_gpu = False
    params.n_ctx = params.n_batch = params.n_ubatch = 1024
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = -1
    params.chat_template = "chatml"
    server = xllamacpp.Server(params)
    url = "data:image/png;base64," + base64.b64encode(_picture(112, 112)).decode()
    content = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}}]
    request = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    reply = server.handle_chat_completions(request)
    reply = json.loads(reply) if isinstance(reply, str | bytes) else reply
    sys.stdout.write(f"\n{reply['usage']['prompt_tokens']}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
