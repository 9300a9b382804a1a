"""`ggufkit types`: the table of tensor types."""

import json

import gguf
import pytest

from ggufkit.cli.main import main


@pytest.fixture
def printed(capsys, monkeypatch):
    """Run the command and return what it prints."""

    def run(*arguments, columns="80"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["types", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_sizes_are_those_of_gguf_py(printed):
    rows = {row["type"]: row for row in json.loads(printed("--json"))}
    for theirs, (block_size, type_size) in gguf.GGML_QUANT_SIZES.items():
        if theirs.name == "Q8_1":  # gguf-py says 40 bytes; ggml's block_q8_1 has 36
            continue
        row = rows[theirs.name]
        assert (row["id"], row["block_size"], row["type_size"]) == (theirs, block_size, type_size)
        assert row["bits_per_weight"] == 8 * type_size / block_size


def test_everything_the_oracle_encodes_is_written(printed, oracle):
    rows = {row["type"]: row for row in json.loads(printed("--json"))}
    for path in (oracle / "codecs").glob("*.npz"):
        assert rows[path.stem]["decodes"]
        assert rows[path.stem]["encodes"]


def test_the_table_fits_80_columns(printed):
    lines = printed().splitlines()
    assert max(map(len, lines)) <= 80
    assert "Q4_K 12 4.5 256 144 yes yes" in {" ".join(line.split()) for line in lines}
