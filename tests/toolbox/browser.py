"""A headless Chromium: screenshots, and what a page says about itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    "--disable-background-networking",
]

# The page in a frame of the wanted width: a window of Chromium is never narrower than 500 pixels.
_PROBE = """<!doctype html><body style="margin: 0">
<iframe style="border: 0; width: %dpx; height: 800px" srcdoc="%s"></iframe>
<script>addEventListener("load", () => {
  const view = document.querySelector("iframe").contentWindow, page = view.document;
  const rect = e => { const r = e.getBoundingClientRect();
    return [r.left + view.scrollX, r.top + view.scrollY, r.width, r.height]; };
  const svgs = [...page.querySelectorAll("svg")].filter(e => e.checkVisibility());
  const root = page.documentElement;
  const found = {
    page: [view.innerWidth, root.scrollWidth, root.scrollHeight],
    plots: svgs.map(e => ({ name: e.closest("section").id, rect: rect(e),
      texts: [...e.querySelectorAll("text")].map(t => [t.textContent.trim(), ...rect(t)]) })),
    scripts: page.querySelectorAll("script").length,
    images: page.querySelectorAll("img, iframe, object, embed, link").length,
  };
  const out = document.createElement("pre"); out.id = "probe";
  out.textContent = JSON.stringify(found); document.body.append(out);
});</script>"""


class Browser:
    """Runs Chromium once per call, with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self.program = shutil.which("chromium") or shutil.which("chromium-browser")
        if self.program is None:
            pytest.skip("no Chromium on the PATH: the report is not looked at")
        self.folder = folder

    def screenshot(self, page: Path, width: int, height: int, *, dark: bool = False) -> Path:
        out = self.folder / f"{page.stem}-{width}{'-dark' if dark else ''}.png"
        options = ["--force-dark-mode"] if dark else []
        self._run(page, width, height, f"--screenshot={out}", *options)
        return out

    def probe(self, page: Path, width: int) -> dict[str, Any]:
        """Return the page's width, its plots' places and their texts' places."""
        probe = self.folder / f"probe-{page.name}"
        content = escape(page.read_text(encoding="utf-8"))
        probe.write_text(_PROBE % (width, content), encoding="utf-8")
        dom = self._run(probe, 1200, 900, "--dump-dom")
        return json.loads(unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1]))

    def _run(self, page: Path, width: int, height: int, *options: str) -> str:
        profile = f"--user-data-dir={self.folder / 'profile'}"
        size = f"--window-size={width},{height}"
        command = [self.program, *_FLAGS, profile, size, *options, page.as_uri()]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, errors="replace", check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
