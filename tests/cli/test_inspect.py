"""`ggufkit inspect`, as a user sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.cli.main import main
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.split import part_name, plan_split
from ggufkit.gguf.writer import write
from ggufkit.types import TensorType, ValueType
from tests import build

ROOT = Path(__file__).resolve().parents[2]
METADATA = {
    "general.architecture": "llama",
    "general.name": "Small \x1b[31mModel",
    "general.file_type": 15,
    "llama.context_length": 4096,
    "llama.attention.head_count_kv": [4, 2, 4],
    "tokenizer.ggml.tokens": [f"token{n}" for n in range(1000)],
    "tokenizer.ggml.scores": [-0.5] * 1000,
}
TENSORS = [
    ("token_embd.weight", (1000, 256), TensorType.Q4_K),
    ("blk.0.attn_norm.weight", (256,), TensorType.F32),
    ("blk.0.ffn_down.weight", (256, 512), TensorType.Q6_K),
]


@pytest.fixture
def path(tmp_path):
    layout = plan_layout(Metadata(METADATA), TENSORS)
    arrays = [np.zeros(info.nbytes, np.uint8) for info in layout.tensors]
    return write(tmp_path / "small.gguf", layout, arrays)


@pytest.fixture
def inspected(capsys, monkeypatch):
    """Run the command and return what it prints."""

    def run(*arguments, columns=None):
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["inspect", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def failed(capsys):
    """Run the command and return the class of its error."""

    def run(path):
        assert main(["inspect", str(path), "--json"]) == 3
        return json.loads(capsys.readouterr().out)["error"]

    return run


def test_a_model_at_a_glance(path, inspected):
    lines = [" ".join(line.split()) for line in inspected(path).splitlines()]
    for line in [
        "small.gguf",
        r"name Small \x1b[31mModel",
        "architecture llama",
        "parameters 387.3 k (3 tensors)",
        "encoding Q4_K_M, 5.22 bits per weight",
        "context 4096",
        "KV heads 2 to 4, by layer",
        "vocabulary 1000",
        "Q4_K 1 256.0 k 144.0 kB 57.0% ███████████·········",
        "Q6_K 1 131.1 k 107.5 kB 42.6% █████████···········",
        "Metadata: 7 keys",
        "llama.context_length u32 4096",
        "llama.attention.head_count_kv i32[3] 4, 2, 4",
    ]:
        assert line in lines
    (tokens,) = (line for line in lines if line.startswith("tokenizer.ggml.tokens"))
    assert tokens.startswith('tokenizer.ggml.tokens string[1000] "token0", "token1"')
    assert tokens.endswith("...")
    assert not any(line.startswith("token_embd") for line in lines)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(path, inspected, columns):
    out = inspected(path, "--tensors", columns=columns)
    assert max(map(len, out.splitlines())) <= columns


def test_no_terminal_code_of_a_file_gets_through(path, inspected):
    assert "\x1b" not in inspected(path, "--tensors")


def test_tensors_are_listed_on_request(path, inspected):
    lines = [" ".join(line.split()) for line in inspected(path, "--tensors").splitlines()]
    assert "blk.0.ffn_down.weight Q6_K 107.5 kB 256 x 512" in lines
    assert "Tensors: 3" in lines


def test_a_filter_keeps_matching_keys_and_tensors(path, inspected):
    out = inspected(path, "--filter", r"^llama\.|ffn")
    assert out.count("llama.") == 2
    assert "blk.0.ffn_down.weight" in out
    assert "general.name" not in out
    assert "attn_norm" not in out


def test_a_filter_that_is_no_expression_is_a_usage_error(path, inspected):
    with pytest.raises(SystemExit) as caught:
        inspected(path, "--filter", "(")
    assert caught.value.code == 2


def test_json_holds_everything(path, inspected):
    found = json.loads(inspected(path, "--json"))
    assert {key: pair["value"] for key, pair in found["metadata"].items()} == METADATA
    assert found["metadata"]["llama.attention.head_count_kv"]["items"] == "INT32"
    assert found["metadata"]["general.file_type"]["type"] == "UINT32"
    assert [
        (tensor["name"], tuple(tensor["shape"]), TensorType[tensor["type"]])
        for tensor in found["tensors"]
    ] == TENSORS
    assert found["size"] == path.stat().st_size
    assert found["files"] == [{"name": "small.gguf", "size": found["size"]}]
    last = found["tensors"][-1]
    assert last["offset"] + last["n_bytes"] == found["size"]
    assert found["summary"]["n_weights"] == sum(t["n_weights"] for t in found["tensors"])
    assert found["summary"]["vocab_size"] == 1000


def test_json_is_valid_for_any_number_and_any_text(tmp_path, inspected, failed):
    path = tmp_path / "odd.gguf"
    pairs = [
        build.pair("x.inf", build.F32, float("inf")),
        build.pair("x.nan", build.ARR, build.array(build.F64, [float("nan")])),
        build.pair("x.text", build.STR, b"\xff"),
    ]
    path.write_bytes(build.file(pairs))
    assert failed(path) == "BadValueError"
    found = json.loads(inspected(path, "--json", "--lenient"), parse_constant=pytest.fail)
    assert [pair["value"] for pair in found["metadata"].values()] == ["inf", ["nan"], "\udcff"]
    assert "udcff" in inspected(path, "--lenient")


def test_parts_are_read_as_one_model(tmp_path, inspected):
    parts = plan_split(Metadata(METADATA), TENSORS, max_tensors=1)
    for index, part in enumerate(parts):
        layout = plan_layout(part.metadata, part.tensors)
        arrays = [np.zeros(info.nbytes, np.uint8) for info in layout.tensors]
        write(tmp_path / part_name("m", index, 3), layout, arrays)
    out = inspected(tmp_path / part_name("m", 1, 3))
    assert "in 3 files" in out
    assert "(3 tensors)" in out
    assert "split.count" not in out
    found = json.loads(inspected(tmp_path / part_name("m", 1, 3), "--json"))
    assert [tensor["file"] for tensor in found["tensors"]] == [
        part_name("m", index, 3) for index in range(3)
    ]


def test_an_importance_matrix_is_shown_as_one(oracle, inspected):
    lines = [
        " ".join(line.split())
        for line in inspected(oracle / "expected" / "llama" / "imatrix.gguf").splitlines()
    ]
    assert {"type imatrix", "entries 57 tensors", "chunks 4", "chunk size 512"} <= set(lines)
    assert 'datasets "calibration.txt"' in lines


def test_odd_files_are_remarked_on(path, inspected):
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    assert "4 bytes follow the last tensor" in inspected(path)
    big = path.with_name("big.gguf")
    big.write_bytes(build.small(">")[:-16])
    out = inspected(big, "--lenient")
    assert "big-endian" in out
    assert "padding behind the last tensor is missing" in out


@pytest.mark.parametrize("value", [7, ["x"], 1.5])
def test_keys_of_unexpected_types_do_no_harm(tmp_path, inspected, value):
    metadata = Metadata()
    kind = {int: ValueType.UINT8, list: ValueType.STRING, float: ValueType.FLOAT32}[type(value)]
    for key in ("general.architecture", "general.name", "general.type", "general.file_type"):
        metadata.set(key, value, kind)
    metadata.set("llama.block_count", "many", ValueType.STRING)
    metadata.set("tokenizer.ggml.tokens", 3, ValueType.UINT8)
    path = write(tmp_path / "x.gguf", plan_layout(metadata, []), [])
    assert "general.architecture" in inspected(path)
    assert json.loads(inspected(path, "--json"))["summary"]["name"] == value


def test_a_bad_file_is_an_error_of_the_format(tmp_path, failed):
    (tmp_path / "x").write_bytes(b"GGML")
    assert failed(tmp_path / "x") == "NotGGUFError"


SCRIPT = """
import sys, time
start = time.perf_counter()
from ggufkit.cli.main import main
try:
    main(["inspect", *sys.argv[1:]])
except SystemExit:
    pass
loaded = {"numpy", "rich"} & set(sys.modules)
print(sorted(loaded), time.perf_counter() - start, file=sys.stderr)
"""


def run_script(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def test_help_loads_neither_numpy_nor_rich_and_showing_no_numpy(path):
    assert run_script("--help").stderr.startswith("[] ")
    assert run_script(path).stderr.startswith("['rich'] ")
    assert run_script(path, "--json").stderr.startswith("[] ")


def test_a_vocabulary_of_262144_tokens_is_shown_at_once(tmp_path):
    tokens = [f"token number {n}" for n in range(262_144)]
    metadata = Metadata({"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": [0.0] * 262_144})
    path = write(tmp_path / "x.gguf", plan_layout(metadata, []), [])
    seconds = min(float(run_script(path).stderr.split()[-1]) for _ in range(3))
    assert seconds < 0.5  # 0.1 on an idle core


def test_an_imatrix_in_the_legacy_format_is_shown(tmp_path, capsys):
    entry = ImatrixEntry(np.ones((1, 256), np.float32), np.ones(1, np.float32))
    path = tmp_path / "m.dat"
    Imatrix({"blk.0.attn_q.weight": entry}, "m.dat", ("text.txt",), 4).save(path)
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "legacy" in shown
    assert "text.txt" in shown
    assert "blk.0.attn_q.weight" in shown
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"] == {"blk.0.attn_q.weight": 256}


def test_a_dat_file_that_is_no_imatrix_is_one_error(tmp_path, capsys):
    path = tmp_path / "m.dat"
    path.write_bytes(b"\x01\x00\x00\x00nonsense")
    assert main(["inspect", str(path)]) == 3
    assert "imatrix" in capsys.readouterr().err
