"""The general.* keys, against llama.cpp's files and gguf-py's own reading of model cards."""

import json
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufkit.checkpoint.model_card import count_weights, general_metadata, read_card
from ggufkit.checkpoint.model_id import parse_model_id, title
from ggufkit.errors import WrongValueTypeError

CHECKPOINTS = [
    "bert", "deepseek_v2", "falcon", "gemma2", "gemma3", "gpt2", "llama", "llama-deep",
    "llama-oddcols", "llama3-rope", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "qwen3_moe",
]  # fmt: skip
LATER = {"general.file_type", "general.quantization_version"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_keys_are_those_of_llama_cpps_converter(oracle, name):
    manifest = json.loads((oracle / "expected" / name / "source.bf16.json").read_text())
    folder = oracle / "checkpoints" / name
    metadata = general_metadata(
        folder,
        json.loads((folder / "config.json").read_text()),
        shapes={t["name"]: tuple(reversed(t["shape"])) for t in manifest["tensors"]},
        architecture=manifest["kv"][0]["value"],
    )
    want = [
        (pair["key"], pair.get("value", pair.get("first")))
        for pair in manifest["kv"]
        if pair["key"].startswith("general.") and pair["key"] not in LATER
    ]
    assert list(metadata.items()) == want


class Recorder(gguf.GGUFWriter):
    """A writer that only notes what it would store."""

    def __init__(self):
        self.pairs = {}
        super().__init__(None, "llama")

    def add_key_value(self, key, val, vtype, sub_type=None):
        self.pairs[key] = val


def written_by_gguf_py(folder, n_weights, name=None):
    theirs = gguf.Metadata.load(None, folder, name, n_weights)
    theirs.size_label = theirs.size_label or gguf.size_label(n_weights, n_weights, 0, 0)
    writer = Recorder()
    writer.add_type("model")
    theirs.set_gguf_meta_model(writer)
    return writer.pairs


def folder_of(parent, name, card=None, **files):
    folder = parent / name
    folder.mkdir(exist_ok=True)
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}---\n# Title\n")
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def ours(folder, n_weights, **options):
    config = folder / "config.json"
    return general_metadata(
        folder,
        json.loads(config.read_text()) if config.exists() else {},
        shapes={"x": (n_weights,)},
        architecture="llama",
        **options,
    )


CARDS = {
    "nothing": "",
    "license list": "license: [mit, apache-2.0]\n",
    "other license": "license: other\nlicense_name: gemma\nlicense_link: https://a.b/c\n",
    "languages": "language: en\nlanguages:\n- de\n- no\ntags: x\npipeline_tag: text-generation\n",
    "empty lists": "tags: []\nlanguage: []\n",
    "names": "model_name: The Model\nmodel_creator: Somebody\nmodel_type: llama\nname: Better\n",
    "own names": "author: A\nversion: v2\norganization: Org\nfinetune: Chat\nbasename: Base\n",
    "sources": "url: https://a.b\nmodel_doi: 10.1/2\nuuid: '1'\nrepo_url: https://c.d\n",
    "description": "description: |\n  Two\n  lines\nmodel_size_label: 3B\n",
    "base": "base_model: meta-llama/Llama-3.1-8B-Instruct\n",
    "bases": "base_model:\n- mistralai/Mistral-7B-v0.1\n- https://huggingface.co/Qwen/Qwen2-7B\n",
    "addresses": "base_models:\n- https://a.b/c\n- https://huggingface.co/org/a/b\n- Name only\n",
    "described": "base_model_sources:\n- name: A\n  version: v1\n  repo_url: https://a.b\n- {}\n",
    "no base": "base_model:\n",
    "data": "datasets:\n- HuggingFaceH4/ultrachat_200k\n- c4\n- https://huggingface.co/d/E-v1.0\n",
    "a tab": "tags:\n-\tx\n",
}


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", ["Model", "Meta-Llama-3-8B-Instruct", "tiny_model-v0.2-4k"])
def test_cards_are_read_as_gguf_py_does(tmp_path, card, name):
    folder = folder_of(tmp_path, name, CARDS[card])
    for n_weights in (8_030_000_000, 4096):
        want = {"general.architecture": "llama", **written_by_gguf_py(folder, n_weights)}
        assert list(ours(folder, n_weights).items()) == list(want.items())


@pytest.mark.parametrize(
    "saved_from", ["meta-llama/Llama-2-7b-hf", "/home/x/y", "./out", "", "plain-7B", None, 3]
)
def test_the_config_knows_where_it_was_saved_from(tmp_path, saved_from):
    folder = folder_of(tmp_path, "folder", config={"_name_or_path": saved_from})
    if isinstance(saved_from, int):
        assert ours(folder, 7_000_000_000)["general.name"] == "Folder"
        return
    want = {"general.architecture": "llama", **written_by_gguf_py(folder, 7_000_000_000)}
    assert list(ours(folder, 7_000_000_000).items()) == list(want.items())


def test_sampling_parameters_are_read_as_gguf_py_does(tmp_path):
    sampling = {
        "temperature": 1, "top_k": 5, "top_p": 0.5, "min_p": 0.25, "penalty_repeat": 1.5,
        "xtc_probability": 0.5, "xtc_threshold": 0.25, "penalty_last_n": 64, "mirostat": 2,
        "mirostat_tau": 5.0, "mirostat_eta": 0.125, "sequence": "kfp", "do_sample": True,
    }  # fmt: skip
    for config in (sampling, {"top_k": None}, {}):
        folder = folder_of(tmp_path, "x", generation_config=config)
        want = {"general.architecture": "llama", **written_by_gguf_py(folder, 1000)}
        assert list(ours(folder, 1000).items()) == list(want.items())


def test_transformers_repetition_penalty_is_understood(tmp_path):
    # Newer than the gguf-py that these tests compare with; llama.cpp's qwen2 files have it.
    folder = folder_of(tmp_path, "x", generation_config={"repetition_penalty": 1.5})
    assert ours(folder, 1000)["general.sampling.penalty_repeat"] == 1.5
    folder = folder_of(
        tmp_path, "x", generation_config={"repetition_penalty": 1.5, "penalty_repeat": 1.25}
    )
    assert ours(folder, 1000)["general.sampling.penalty_repeat"] == 1.25


def test_a_name_that_is_given_wins(tmp_path):
    folder = folder_of(tmp_path, "Meta-Llama-3-8B", CARDS["names"])
    want = {"general.architecture": "llama", **written_by_gguf_py(folder, 10**9, "Mine")}
    assert list(ours(folder, 10**9, name="Mine").items()) == list(want.items())


WORDS = ["Llama", "3", "8B", "8x7B", "A3B", "7b1", "1_6B", "128k", "mini", "xl", "chat", "LoRA"]
WORDS += ["Instruct", "v0.1", "Iter3", "2407", "Q4_K_M", "fp16", "hf", "2dpo", "R", "", "a b", "."]


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(WORDS), max_size=7),
    st.sampled_from(["", "org/", "./", "Meta-Org/"]),
    st.sampled_from([0, 5000, 161 * 10**6, 8 * 10**9]),
)
def test_model_ids_are_understood_as_gguf_py_does(words, organization, n_weights):
    model_id = organization + "-".join(words)
    name, org, basename, finetune, version, size = gguf.Metadata.get_model_id_components(
        model_id, n_weights
    )
    found = parse_model_id(model_id, n_weights)
    assert (found.name, found.organization or None) == (name, org or None)
    assert (found.basename, found.finetune) == (basename, finetune)
    assert (found.version, found.size_label) == (version, size)
    assert title(name) == gguf.Metadata.id_to_title(name)


def test_weights_are_counted_as_gguf_py_does():
    shapes = {
        "token_embd.weight": (10, 8),
        "blk.0.ffn_up_exps.weight": (4, 6, 8),
        "blk.0.ffn_up_exps.bias": (4, 6),
        "blk.0.ffn_up_shexp.weight": (6, 8),
        "blk.1.ffn_up_exps.weight": (2, 6, 8),
    }
    writer = gguf.GGUFWriter(None, "llama")
    for name, shape in shapes.items():
        writer.add_tensor_info(name, shape, "float32", 0, gguf.GGMLQuantizationType.F32)
    assert tuple(count_weights(shapes)) == writer.get_total_parameter_count()


@pytest.mark.parametrize(
    "content",
    [
        b"---\n: [\n---\n",
        b"---\n- a list\n---\n",
        b"---\n\xff\n---\n",
        b"# no front matter\n---\nname: x\n---\n",
        b"",
        b"---\n" + b"[" * 5000 + b"\n---\n",
        b"\xef\xbb\xbf---\nname: x\n---\n",
        b"---\na: &a [x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(9)) + b"---",
    ],
)
def test_cards_that_can_not_be_used_count_as_absent(tmp_path, content):
    folder = folder_of(tmp_path, "Model-7B")
    (folder / "README.md").write_bytes(content)
    assert "name" not in read_card(folder)
    assert ours(folder, 7 * 10**9)["general.name"] == "Model 7B"


def test_values_of_odd_types_become_text_or_are_left_out(tmp_path):
    card = "version: 1.5\nauthor: [a]\ntags: [1, {a: b}, x]\nlanguage: no\nlicense: true\n"
    metadata = ours(folder_of(tmp_path, "Model-7B", card), 7 * 10**9)
    assert metadata["general.version"] == "1.5"
    assert metadata["general.tags"] == ["1", "x"]
    assert not {"general.author", "general.languages", "general.license"} & set(metadata)


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000, "null"])
def test_a_generation_config_that_is_no_object_counts_as_absent(tmp_path, content):
    folder = folder_of(tmp_path, "Model-7B")
    (folder / "generation_config.json").write_text(content)
    assert "general.sampling.temp" not in ours(folder, 10**9)


def test_a_sampling_parameter_that_is_no_number_is_named(tmp_path):
    folder = folder_of(tmp_path, "x", generation_config={"temperature": "hot"})
    with pytest.raises(WrongValueTypeError, match=r"general\.sampling\.temp"):
        ours(folder, 1000)


def test_only_regular_files_are_read(tmp_path):
    folder = folder_of(tmp_path, "x")
    (folder / "README.md").symlink_to("/dev/zero")
    (folder / "generation_config.json").mkdir()
    assert ours(folder, 1000)["general.name"] == "X"
    assert Path(folder / "README.md").exists()
