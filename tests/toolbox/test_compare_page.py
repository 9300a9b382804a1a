"""The report, looked at by a browser: plots with something in them, and room for a phone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import ggufkit
from ggufkit.converter.ladder import convert
from ggufkit.toolbox.compare.compare import compare
from ggufkit.toolbox.compare.page import page
from ggufkit.types import TensorType
from tests.llama import write_llama
from tests.toolbox.browser import Browser

pytest.importorskip(
    "matplotlib", reason="matplotlib is not installed: pip install 'ggufkit[report]'"
)

WIDE, PHONE = 1100, 390
PLOTS = ["size_against_error", "error_by_block", "error_by_part", "histograms", "type_mix"]
HOSTILE = "<script>alert(1)</script>\"'&$x_{^$ </svg>"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report on a whole ladder."""
    folder = tmp_path_factory.mktemp("report")
    write_llama(folder / "tiny", n_layers=12)
    convert(folder / "tiny", folder / "rungs", ladder="Q2_K:F16")
    path = folder / "report.html"
    path.write_text(page(compare(folder / "tiny", [folder / "rungs"])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_plots_have_something_in_them(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    from PIL import Image

    found = browser.probe(report, width)
    assert [plot["name"] for plot in found["plots"]] == PLOTS
    shot = browser.screenshot(report, width, found["page"][2], dark=dark)
    with Image.open(shot) as opened:
        image = opened.convert("RGB")
    assert image.width == width
    background = image.getpixel((2, 2))
    assert (sum(background) < 300) is dark
    for plot in found["plots"]:
        left, top, wide, high = plot["rect"]
        assert wide > 0.8 * min(width, 900)
        assert high > 200
        region = np.asarray(image.crop((left, top, left + wide, top + high))).reshape(-1, 3)
        colours, counts = np.unique(region, axis=0, return_counts=True)
        assert len(colours) > 60, plot["name"]
        assert counts.max() < 0.98 * len(region), plot["name"]
        vivid = np.ptp(colours.astype(int), axis=1) > 80  # neither ink nor paper
        assert counts[vivid].sum() > 300, plot["name"]


@pytest.mark.parametrize("width", [WIDE, PHONE, 320])
def test_nothing_is_wider_than_the_screen(browser: Browser, report: Path, width: int) -> None:
    found = browser.probe(report, width)
    inner, scrolled, _ = found["page"]
    assert inner == width
    assert scrolled <= width
    for plot in found["plots"]:
        left, _, wide, _ = plot["rect"]
        assert left >= 0
        assert left + wide <= width


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_no_text_of_a_plot_covers_another_or_is_cut(
    browser: Browser, report: Path, width: int
) -> None:
    for plot in browser.probe(report, width)["plots"]:
        left, top, wide, high = plot["rect"]
        texts = [text for text in plot["texts"] if text[0]]
        assert len(texts) > 8
        for i, (text, x, y, w, h) in enumerate(texts):
            assert h > 8, f"{text!r} is too small to read"
            assert left - 1 <= x, text
            assert x + w <= left + wide + 1, f"{plot['name']}: {text!r} is cut"
            assert top - 1 <= y, text
            assert y + h <= top + high + 1, f"{plot['name']}: {text!r} is cut"
            for other, x2, y2, w2, h2 in texts[:i]:
                beside = x + w <= x2 + 1 or x2 + w2 <= x + 1
                # boxes of text are taller than its letters
                above = y + h <= y2 + 0.3 * h or y2 + h2 <= y + 0.3 * h
                assert beside or above, f"{plot['name']}: {text!r} covers {other!r}"


def test_the_report_needs_nothing_else(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"<(img|link|iframe|object|embed|base)\b|@import|\bsrc=", text)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', text))
    assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", text))
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    linked = {
        link[1:]
        for link in re.findall(r'href="(#[^"]*)"|url\((#[^)]*)\)', text)
        for link in link
        if link
    }
    assert linked <= set(ids)


def test_names_of_a_file_stay_text(browser: Browser, tmp_path: Path) -> None:
    name = f"blk.0.{HOSTILE}"
    assert len(name) < 64
    rng = np.random.default_rng(0)
    weights = {name: rng.random((8, 64), np.float32), "b": rng.random((8, 64), np.float32)}
    files = []
    for type_, file in (("F32", "a"), ("Q4_0", "b"), ("Q8_0", "<b onload=alert(1)>$\\q$")):
        data = {tensor: (values, TensorType[type_]) for tensor, values in weights.items()}
        keys = {"general.architecture": "llama"}
        files.append(ggufkit.save(tmp_path / f"{file}.gguf", keys, data))
    report = tmp_path / "hostile.html"
    report.write_text(page(compare(files[0], files[1:])), encoding="utf-8")
    text = report.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<b onload" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$x_{^$" in text
    found = browser.probe(report, PHONE)
    assert found["scripts"] == 0
    assert found["images"] == 0
    assert len(found["plots"]) == len(PLOTS)
    shown = [text for plot in found["plots"] for text, *_ in plot["texts"]]
    assert any(text.startswith("<script>") for text in shown)
    assert found["page"][1] <= PHONE


def test_names_in_any_script(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((8, 64), np.float32)
    names = [f"blk.0.\x1b[31m\ud7ff\u202e{word}.weight" for word in ("名前", "اسم", "имя", "🙂")]
    paths = []
    for type_, file in (("F32", "a"), ("Q4_0", "x\x0b\u202e"), ("Q8_0", "y" * 200)):
        data = dict.fromkeys(names, (values, TensorType[type_]))
        keys = {"general.architecture": "llama"}
        paths.append(ggufkit.save(tmp_path / f"{file}.gguf", keys, data))
    text = page(compare(paths[0], paths[1:]))
    assert "名前" in text
    assert {c for c in text if not c.isprintable()} == {"\n"}
    svgs = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(svgs) == 2 * len(PLOTS)
    for svg in svgs:
        ET.fromstring(svg)


@pytest.mark.parametrize("types", [("F32",), ("Q8_0",), ("F32", "F16", "Q4_0")])
def test_few_rungs_and_a_single_tensor(tmp_path: Path, types: tuple[str, ...]) -> None:
    values = np.random.default_rng(0).random((8, 64), np.float32)
    paths = []
    for i, type_ in enumerate(("F32", *types)):
        data = {"only.weight": (values, TensorType[type_])}
        keys = {"general.architecture": "llama"}
        paths.append(ggufkit.save(tmp_path / f"{i}.gguf", keys, data))
    text = page(compare(paths[0], paths[1:]))
    assert 'id="type_mix"' in text
    assert ('id="size_against_error"' in text) is (types != ("F32",))
    assert 'id="error_by_block"' not in text


def test_the_same_comparison_gives_the_same_page(report: Path) -> None:
    folder = report.parent
    again = page(compare(folder / "tiny", [folder / "rungs"], jobs=1))
    assert again == report.read_text(encoding="utf-8")
