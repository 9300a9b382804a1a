"""Edits of metadata and tensors: in place, or written anew."""

import ctypes
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.errors import (
    BadLayoutError,
    BadValueError,
    GGUFKitError,
    MissingKeyError,
    MissingTensorError,
    OutputError,
    WrongValueTypeError,
)
from ggufkit.gguf.reader import GGUFFile
from ggufkit.toolbox.edit import RESERVED, edit
from ggufkit.toolbox.hash import hash_file
from ggufkit.toolbox.header_journal import journal_path
from ggufkit.types import ValueType
from tests import build
from tests.toolbox.edits import DATA, NAME, NOTE, TOKENS, file_bytes, tensors


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(file_bytes(NAME, NOTE, TOKENS))
    return path


def read(path):
    """Return metadata and data of all tensors."""
    with GGUFFile.open(path) as file:
        metadata = {key: file.metadata[key] for key in file.metadata}
        return metadata, {n: file.read_bytes(i) for n, i in file.tensors.items()}


def test_a_value_of_the_same_size_is_replaced_in_place(path):
    before = path.stat()
    result = edit(path, values={"general.name": "new name"})
    assert result.how == "in place"
    want = file_bytes(build.pair("general.name", build.STR, "new name"), NOTE, TOKENS)
    assert path.read_bytes() == want
    assert path.stat().st_ino == before.st_ino
    assert not journal_path(path).exists()


def test_padding_takes_up_a_few_bytes(path):
    result = edit(path, values={"general.name": "longer name"})
    want = file_bytes(build.pair("general.name", build.STR, "longer name"), NOTE, TOKENS)
    assert len(want) == path.stat().st_size
    assert result.how == "in place"
    assert path.read_bytes() == want


def test_a_file_without_room_is_written_anew(path):
    path.chmod(0o640)
    before = path.stat().st_ino
    name = "n" * 500
    done = []
    result = edit(path, values={"general.name": name}, progress=done.append)
    want = file_bytes(build.pair("general.name", build.STR, name), NOTE, TOKENS)
    assert result.how == "rewritten"
    assert path.read_bytes() == want
    assert result.n_bytes == len(want)
    assert sum(done) == 4 * 64
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o640


def test_every_change_at_once(path):
    edit(
        path,
        values={"x.pair": (5, ValueType.INT8), "x.renamed": 8},
        assignments=["x.text:string=a=b:c", "x.list:f32[]=[1, 2.5]", "x.flag:bool=true"],
        delete=["general.name"],
        rename={"x.note": "x.renamed"},
        rename_tensors={"a": "b", "b": "z"},
        drop_tensors=["[cq]"],
    )
    want = build.file(
        [
            build.pair("x.renamed", build.U16, 8),
            TOKENS,
            build.pair("x.pair", build.I8, 5),
            build.pair("x.text", build.STR, "a=b:c"),
            build.pair("x.list", build.ARR, build.array(build.F32, [1, 2.5])),
            build.pair("x.flag", build.BOOL, 1),
        ],
        tensors("b", "z", "d"),
        DATA[0] + DATA[1] + DATA[3],
    )
    assert path.read_bytes() == want


def test_another_file_leaves_the_first_alone(path, tmp_path):
    before = path.read_bytes()
    out = tmp_path / "out.gguf"
    result = edit(path, out=out, values={"general.name": "new name"})
    assert (result.path, result.how) == (out, "rewritten")
    assert path.read_bytes() == before
    assert out.read_bytes() == file_bytes(
        build.pair("general.name", build.STR, "new name"), NOTE, TOKENS
    )
    with pytest.raises(OutputError, match="exists"):
        edit(path, out=out)
    edit(path, out=out, force=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize("values", [{}, {"general.name": "old name"}])
def test_nothing_to_change(path, values):
    before = path.stat()
    assert edit(path, values=values).how == "unchanged"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_dry_run_changes_nothing_and_tells_what_would(path):
    before = path.read_bytes()
    planned = edit(path, values={"general.name": "x" * 900}, drop_tensors=["d"], dry_run=True)
    assert path.read_bytes() == before
    assert planned == edit(path, values={"general.name": "x" * 900}, drop_tensors=["d"])
    assert path.stat().st_size == planned.n_bytes
    assert planned.dropped_tensors == ("d",)
    assert [(pair.key, pair.a.value) for pair in planned.metadata] == [("general.name", "old name")]


def test_version_2_stays_version_2(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(file_bytes(NAME, version=2))
    edit(path, delete=["general.name"], reserve=9)
    reserved = build.pair(RESERVED, build.ARR, build.array(build.U8, [0] * 9))
    assert path.read_bytes() == file_bytes(reserved, version=2)


def test_another_name_of_the_file_keeps_its_content(path, tmp_path):
    other = tmp_path / "other.gguf"
    before = path.read_bytes()
    other.hardlink_to(path)
    assert edit(path, values={"general.name": "new name"}).how == "rewritten"
    assert other.read_bytes() == before


def test_a_symbolic_link_is_refused(path, tmp_path):
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    with pytest.raises(OutputError, match="symbolic link"):
        edit(link, values={"general.name": "new name"})
    assert edit(link, out=tmp_path / "out.gguf").how == "rewritten"


# The reserve.


def test_reserve_makes_later_edits_happen_in_place(path):
    weights = hash_file(path).weights
    assert edit(path, reserve=1100).how == "rewritten"
    size, inode = path.stat().st_size, path.stat().st_ino
    for name in ["n" * 300, "n" * 1000, "", "é" * 77]:
        result = edit(path, values={"general.name": name, "tokenizer.chat_template": "t"})
        assert result.how == "in place"
        metadata, data = read(path)
        assert metadata["general.name"] == name
        assert metadata[RESERVED] == [0] * result.reserved
        assert data == dict(zip("abcd", DATA, strict=True))
        assert (path.stat().st_size, path.stat().st_ino) == (size, inode)
    assert hash_file(path).weights == weights
    result = edit(path, values={"general.name": "n" * 3000})
    assert result.how == "rewritten"
    assert edit(path, reserve=0).reserved == 0
    assert RESERVED not in read(path)[0]


@pytest.mark.parametrize("size", range(64))
def test_every_size_of_reserve_fits(path, size):
    edit(path, reserve=100)
    result = edit(path, values={"general.name": "n" * size})
    assert result.how == "in place"
    assert read(path)[0]["general.name"] == "n" * size


class _InitParams(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p))]


@pytest.fixture(scope="module")
def gguf_c(ggml):
    """The C functions that read GGUF files."""
    spec = find_spec("libggml")
    lib = ctypes.CDLL(
        str(next(Path(spec.submodule_search_locations[0]).glob("lib64/libggml-base.so")))
    )
    lib.gguf_init_from_file.restype = ctypes.c_void_p
    lib.gguf_init_from_file.argtypes = [ctypes.c_char_p, _InitParams]
    for name in ("gguf_find_key", "gguf_find_tensor", "gguf_get_n_tensors"):
        getattr(lib, name).restype = ctypes.c_int64
    lib.gguf_find_key.argtypes = lib.gguf_find_tensor.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.gguf_get_val_str.restype = ctypes.c_char_p
    lib.gguf_get_val_str.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    lib.gguf_get_data_offset.restype = ctypes.c_size_t
    lib.gguf_get_n_tensors.argtypes = lib.gguf_get_data_offset.argtypes = [ctypes.c_void_p]
    lib.gguf_free.argtypes = [ctypes.c_void_p]
    return lib


@pytest.mark.parametrize("reserve", [1, 31, 4096])
def test_ggml_reads_files_with_a_reserve(path, gguf_c, reserve):
    edit(path, reserve=reserve)
    assert edit(path, values={"general.name": "old-name"}).how == "in place"
    context = gguf_c.gguf_init_from_file(bytes(path), _InitParams(False, None))
    assert context
    assert gguf_c.gguf_find_key(context, RESERVED.encode()) >= 0
    key = gguf_c.gguf_find_key(context, b"general.name")
    assert gguf_c.gguf_get_val_str(context, key) == b"old-name"
    assert gguf_c.gguf_get_n_tensors(context) == 4
    offset = gguf_c.gguf_get_data_offset(context)
    assert path.read_bytes()[offset:] == b"".join(DATA)
    gguf_c.gguf_free(context)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"delete": ["none"]}, MissingKeyError, "'none'"),
        ({"rename": {"none": "x"}}, MissingKeyError, "'none'"),
        ({"rename": {"x.note": "general.name"}}, BadValueError, "appear twice"),
        ({"rename_tensors": {"none": "x"}}, MissingTensorError, "'none'"),
        ({"rename_tensors": {"a": "b"}}, BadLayoutError, "two tensors"),
        ({"rename_tensors": {"a": "x" * 64}}, BadValueError, "64 bytes"),
        ({"drop_tensors": ["blk"]}, MissingTensorError, "'blk'"),
        ({"drop_tensors": ["("]}, BadValueError, "regular expression"),
        ({"values": {"general.name": 1}}, WrongValueTypeError, r"general\.name"),
        ({"values": {"unknown": 1}}, WrongValueTypeError, "not a standard key"),
        ({"values": {"general.alignment": 3}}, BadLayoutError, "power of two"),
        ({"assignments": ["unknown=1"]}, WrongValueTypeError, "unknown:u32=1"),
        ({"assignments": ["no assignment"]}, WrongValueTypeError, "KEY=VALUE"),
        ({"assignments": ["k:u7=1"]}, WrongValueTypeError, "'u7'"),
        ({"assignments": ["k:u8=256"]}, WrongValueTypeError, "'k'"),
        ({"assignments": ["k:u8=1.5"]}, WrongValueTypeError, "not a UINT8"),
        ({"assignments": ["k:bool=yes"]}, WrongValueTypeError, "not a BOOL"),
        ({"assignments": ["k:i32[]=1"]}, WrongValueTypeError, "JSON"),
        ({"assignments": ['k:i32[]=["a"]']}, WrongValueTypeError, "'k'"),
        ({"assignments": ["k:f32[]=[[1]]"]}, WrongValueTypeError, "JSON"),
    ],
)
def test_what_is_refused_changes_nothing(path, changes, error, message):
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        edit(path, **changes)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_tensors_of_a_part_are_not_dropped(tmp_path):
    path = tmp_path / "m-00001-of-00002.gguf"
    pairs = [build.pair("split.no", build.U16, 0), build.pair("split.count", build.U16, 2)]
    path.write_bytes(file_bytes(*pairs))
    with pytest.raises(BadLayoutError, match="merge it first"):
        edit(path, drop_tensors=["a"])
    assert edit(path, values={"general.name": "x"}, reserve=8).how == "rewritten"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("general.name=a=b", "general.name", "a=b"),
        ("x.note=0x10", "x.note", 16),
        ("llama.block_count=3", "llama.block_count", 3),
        ("llama.attention.head_count_kv=2", "llama.attention.head_count_kv", 2),
        ("llama.attention.head_count_kv=[2, 4]", "llama.attention.head_count_kv", [2, 4]),
        ('tokenizer.ggml.tokens=["x"]', "tokenizer.ggml.tokens", ["x"]),
        ("tokenizer.ggml.add_bos_token=False", "tokenizer.ggml.add_bos_token", False),
        ("k.empty:string=", "k.empty", ""),
        ("k.lines:string=a\nb", "k.lines", "a\nb"),
        ("k.none:u64[]=[]", "k.none", []),
    ],
)
def test_assignments(path, text, key, value):
    edit(path, assignments=[text])
    assert read(path)[0][key] == value


# Kills, and journals that they leave.


def test_command(path, tmp_path, capsys):
    template = tmp_path / "template.jinja"
    template.write_bytes("{{ é }}\r\n".encode())
    arguments = ["edit", str(path), "--chat-template", str(template), "--delete", "x.note"]
    arguments += ["--rename-tensor", "a=z", "--drop-tensor", "b"]
    before = path.read_bytes()
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "-  x.note                   u16     7\n" in out
    assert "b       dropped\n" in out
    assert "would be written" in out
    assert path.read_bytes() == before
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["how"], found["dropped_tensors"]) == ("rewritten", ["b"])
    metadata, data = read(path)
    assert metadata["tokenizer.chat_template"] == "{{ é }}\r\n"
    assert list(data) == ["z", "c", "d"]
    assert main(["edit", str(path), "--set", "general.name=newer na"]) == 0
    assert "edited in place" in capsys.readouterr().out
    assert main(["edit", str(path), "--delete", "none"]) == 3
    assert main(["edit", str(path), "--chat-template", str(tmp_path / "none")]) == 3
    assert main(["edit", str(tmp_path / "none.gguf"), "--delete", "x"]) == 3


@pytest.mark.parametrize("option", [["--rename", "x"], ["--reserve", "-1"], ["--rename", "=x"]])
def test_usage(path, option):
    with pytest.raises(SystemExit, match="2"):
        main(["edit", str(path), *option])


def test_a_file_that_is_broken_is_one_error(path):
    path.write_bytes(path.read_bytes()[:-100])
    digest = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(GGUFKitError, match="remain"):
        edit(path, delete=["x.note"])
    assert hashlib.sha256(path.read_bytes()).digest() == digest


def test_types_of_keys_change_and_values_stay(path):
    edit(path, values={"x.n": (5, ValueType.UINT32), "x.list": ([1, 2], ValueType.INT32)})
    edit(path, retype={"x.n": "f32", "x.list": "u64[]"})
    with GGUFFile.open(path) as file:
        metadata = file.metadata
    assert (metadata["x.n"], metadata.type_of("x.n")) == (5.0, ValueType.FLOAT32)
    assert metadata.item_type_of("x.list") is ValueType.UINT64
    with pytest.raises(WrongValueTypeError):
        edit(path, retype={"general.name": "u32"})


def test_special_tokens_are_set_by_text_and_by_id(path):
    edit(path, special_tokens={"eos": "é", "pad": "0"})
    with GGUFFile.open(path) as file:
        metadata = file.metadata
    assert metadata["tokenizer.ggml.eos_token_id"] == 1
    assert metadata.type_of("tokenizer.ggml.eos_token_id") is ValueType.UINT32
    assert metadata["tokenizer.ggml.padding_token_id"] == 0
    with pytest.raises(MissingKeyError, match="'<absent>' is neither a token"):
        edit(path, special_tokens={"eos": "<absent>"})


@pytest.mark.parametrize(("role", "meant"), [("eso", "'eos'"), ("fim_prefix", "fim_pre"), ("", "")])
def test_a_special_token_that_does_not_exist_is_refused(role, meant, path) -> None:
    before = path.read_bytes()
    with pytest.raises(BadValueError, match=rf"no special token is called .*{meant}.*there are"):
        edit(path, special_tokens={role: "b"})
    assert path.read_bytes() == before
