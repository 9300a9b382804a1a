"""Files on the web: what is read, what is sent, and what goes wrong."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.errors import GGUFKitError, MissingFileError, RemoteError, TruncatedError
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.remote import RemoteFile
from ggufkit.io import http_ranges as ranges_module
from ggufkit.io.http_ranges import RangeReader, is_remote, url_of
from ggufkit.toolbox.split import split
from tests import build
from tests.gguf.range_server import Ranges, serve_ranges
from tests.llama import write_llama

GIB = 1 << 30


@pytest.fixture
def server(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ranges_module, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_ranges(Ranges(tmp_path)) as found:
        yield found


def big_file(path: Path, n_tokens: int, n_tensors: int, n_bytes: int) -> int:
    """Write a sparse model with a vocabulary; return the bytes of its header."""
    rng = random.Random(0)
    tokens = ["x" * min(40, int(rng.expovariate(0.2)) + 1) for _ in range(n_tokens)]
    merges = [f"{tokens[i]} {tokens[i - 1]}" for i in range(n_tokens)]
    pairs = [
        build.pair("general.architecture", build.STR, "llama"),
        build.pair("tokenizer.ggml.tokens", build.ARR, build.array(build.STR, tokens)),
        build.pair("tokenizer.ggml.token_type", build.ARR, build.array(build.I32, [1] * n_tokens)),
        build.pair("tokenizer.ggml.merges", build.ARR, build.array(build.STR, merges)),
        build.pair("tokenizer.chat_template", build.STR, "{{ x }}" * 500),
    ]
    per_tensor = n_bytes // n_tensors // 4096 * 4096
    tensors = [
        build.tensor(f"blk.{i}.ffn_down.weight", [1024, per_tensor // 4096], 0, i * per_tensor)
        for i in range(n_tensors)
    ]
    head = build.file(pairs, tensors)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + n_tensors * per_tensor)
    return len(head)


def test_a_20_gib_file_is_listed_with_little_more_than_its_header(server, tmp_path: Path) -> None:
    header = big_file(tmp_path / "big.gguf", 150_000, 400, 20 * GIB)
    started = time.perf_counter()
    with ggufkit.open(f"{server.url}/big.gguf") as model:
        took = time.perf_counter() - started
        assert len(model) == 400
        assert len(model.metadata["tokenizer.ggml.merges"]) == 150_000
        assert model.file_size > 19 * GIB
    assert header <= server.sent < 1.02 * header
    assert len(server.asked) <= 12
    assert took < 3  # it takes half a second on a machine that does nothing else


@pytest.mark.parametrize("n_tokens", [0, 10, 3000, 40_000])
def test_any_header_is_read_whole(server, tmp_path: Path, n_tokens: int) -> None:
    header = big_file(tmp_path / "m.gguf", n_tokens, 5, 1 << 20)
    with ggufkit.open(f"{server.url}/m.gguf") as model, ggufkit.open(tmp_path / "m.gguf") as local:
        assert dict(model.metadata) == dict(local.metadata)
        assert model.tensors == local.tensors
    assert server.sent < max(1.03 * header, 1 << 17) + 1


def test_tensors_are_fetched_when_asked_for(server, tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    ggufkit.convert(source, tmp_path / "m.gguf", ladder="Q4_K_M")
    with ggufkit.open(f"{server.url}/m.gguf") as model, ggufkit.open(tmp_path / "m.gguf") as local:
        for name in local:
            assert np.array_equal(model[name].data, local[name].data)
            assert model[name].info == local[name].info


def test_the_parts_of_a_split_are_found(server, tmp_path: Path) -> None:
    source = write_llama(tmp_path / "model")
    ggufkit.convert(source, tmp_path / "m.gguf", ladder="Q8_0")
    split(tmp_path / "m.gguf", tmp_path / "s.gguf", max_tensors=8)
    first = next(tmp_path.glob("s-00001-of-*.gguf")).name
    with open_gguf(f"{server.url}/{first}") as model, ggufkit.open(tmp_path / "m.gguf") as whole:
        assert list(model) == list(whole)
        assert model.metadata == whole.metadata


@pytest.mark.parametrize("faults", [[503, 503], ["cut"], ["reset"], [429], ["cut", "reset", 500]])
def test_faults_that_pass_are_waited_for(server, tmp_path: Path, faults: list) -> None:
    (tmp_path / "m.gguf").write_bytes(build.small())
    server.faults = faults
    with ggufkit.open(f"{server.url}/m.gguf") as model:
        assert len(model) == 6
    assert not server.faults


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([503] * 9, "answers 503; tried 5 times"),
        (["cut"] * 9, "tried 5 times"),
        (["whole"], "does not support byte ranges"),
        (["bytes 5-9/100"], "other bytes"),
        (["bytes 0-99999999999/999999999999"], "other bytes"),
        (["bytes 0-1/99999999999999"], "fewer bytes"),
        (["bytes x-1/5"], "does not state"),
        ([418], "answers 418"),
    ],
)
def test_servers_that_can_not_be_used_are_named(server, tmp_path, faults, message) -> None:
    (tmp_path / "m.gguf").write_bytes(build.small())
    server.faults = faults
    with pytest.raises(RemoteError, match=message):
        ggufkit.open(f"{server.url}/m.gguf")


def test_what_is_not_there_is_a_missing_file(server) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        ggufkit.open(f"{server.url}/absent.gguf")
    server.faults = [403]
    with pytest.raises(MissingFileError, match="token"):
        ggufkit.open(f"{server.url}/absent.gguf")
    with pytest.raises(RemoteError, match="tried 5 times"):
        ggufkit.open("http://127.0.0.1:9/m.gguf")


def test_a_file_that_changes_is_noticed(server, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(bytes(100))
    reader = RangeReader(f"{server.url}/m")
    assert reader.read(0, 10) == bytes(10)
    (tmp_path / "m").write_bytes(bytes(90))
    with pytest.raises(RemoteError, match="changed"):
        reader.read(10, 10)


def test_a_token_goes_to_the_hub_and_to_nobody_else(server, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "m.gguf").write_bytes(build.small())
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with ggufkit.open(f"{server.url}/m.gguf"):
        assert server.tokens == [None]
    with serve_ranges(Ranges(tmp_path, redirect_to=server.url)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        with ggufkit.open("hf:o/r/m.gguf@dev"):
            assert hub.asked[0][0] == "/o/r/resolve/dev/m.gguf"
        assert hub.tokens == ["Bearer hf_secret"]
        # 127.0.0.1 with another port is another host
        assert server.tokens == [None, None]


def test_names() -> None:
    assert url_of("hf:o/r/a b.gguf").endswith("/o/r/resolve/main/a%20b.gguf")
    assert url_of("https://x/y.gguf") == "https://x/y.gguf"
    assert is_remote("HF:o/r/f")
    assert not is_remote(Path("hf:o/r"))
    with pytest.raises(MissingFileError, match="write hf:owner/name"):
        url_of("hf:o/r")


def test_truncated_and_hostile_headers_are_refused(server, tmp_path: Path) -> None:
    whole = build.small()
    for cut in (3, 20, 100, len(whole) - 20):
        (tmp_path / "m.gguf").write_bytes(whole[:cut])
        with pytest.raises(TruncatedError):
            ggufkit.open(f"{server.url}/m.gguf")
    huge = build.file([build.string("k") + struct.pack("<IIQ", 9, 8, 2**60)], n_pairs=1)
    with (tmp_path / "m.gguf").open("wb") as file:
        file.write(huge)
        file.truncate(50 * GIB)
    before = server.sent
    with pytest.raises(GGUFKitError):
        ggufkit.open(f"{server.url}/m.gguf")
    assert server.sent - before < 1 << 20


def test_mutants_are_read_or_refused_as_from_disk(server, tmp_path: Path) -> None:
    from tests.fuzzing.mutate import gguf_fields, mutate

    rng = random.Random(3)
    seed = build.small()
    for _ in range(60):
        data = mutate(seed, [seed], gguf_fields, rng)
        (tmp_path / "m.gguf").write_bytes(data or b"x")
        outcomes = []
        for name in (tmp_path / "m.gguf", f"{server.url}/m.gguf"):
            try:
                with ggufkit.open(name) as model:
                    outcomes.append(list(model))
            except GGUFKitError as error:
                outcomes.append(type(error).__name__)
        assert outcomes[0] == outcomes[1]


def test_a_remote_file_counts_what_it_read(server, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(build.small())
    with RemoteFile.open(f"{server.url}/m.gguf") as file:
        assert file.source.received == server.sent == len(build.small())
