"""Models without an architecture file, by gguf-py's tables: `--generic`."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from ggufkit.architectures.from_gguf_py import UNVERIFIED_KEY, generic_architecture, generic_name
from ggufkit.architectures.registry import architectures, find_architecture
from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert, open_source
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.errors import (
    ConversionError,
    GGUFKitError,
    MissingWeightsError,
    TensorNamesError,
    UnknownArchitectureError,
    UnmappedTensorsError,
)
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.matching import map_tensors
from ggufkit.mapping.spec import Context, complete_config, config_errors, write_hparams
from ggufkit.publish.hub.model_card import LadderFolder, model_card
from ggufkit.toolbox.verify import verify
from tests.architectures.checkpoints import weights, write_checkpoint
from tests.architectures.test_configs import JUNK
from tests.architectures.test_converted import CASES, write_case
from tests.llama import write_llama

# What needs no transform, and how its metadata differs beside the mark: config.json lacks what
# transformers assumes, or the key is not one that most models have.
SAME = {
    "ernie4_5": set(),
    "olmo2": set(),
    "olmoe": set(),
    "starcoder2": set(),
    "qwen2_moe": set(),
    "seed_oss": set(),
    "glm4": {"rope.dimension_count"},
    "olmo3": {
        "rope.freq_base_swa",
        "attention.sliding_window",
        "attention.sliding_window_pattern",
    },
}

GPTJ = {
    "architectures": ["GPTJForCausalLM"],
    "model_type": "gptj",
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "n_inner": 128,
    "rotary_dim": 8,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 320,
}


def gptj_tensors() -> dict[str, tuple[str, list[int]]]:
    shapes = {
        "transformer.wte.weight": [320, 64],
        "transformer.ln_f.weight": [64],
        "transformer.ln_f.bias": [64],
        "lm_head.weight": [320, 64],
        "lm_head.bias": [320],
    }
    for i in range(2):
        block = f"transformer.h.{i}"
        shapes |= {f"{block}.attn.{part}_proj.weight": [64, 64] for part in ("q", "k", "v", "out")}
        shapes |= {f"{block}.ln_1.{kind}": [64] for kind in ("weight", "bias")}
        shapes |= {
            f"{block}.mlp.fc_in.weight": [128, 64],
            f"{block}.mlp.fc_in.bias": [128],
            f"{block}.mlp.fc_out.weight": [64, 128],
            f"{block}.mlp.fc_out.bias": [64],
            f"{block}.attn.bias": [1, 1, 128, 128],
            f"{block}.attn.masked_bias": [1],
        }
    return {name: ("F32", shape) for name, shape in shapes.items()}


@pytest.fixture(autouse=True)
def tokens(monkeypatch) -> None:
    def vocabulary(*_, config, **__) -> Metadata:
        return Metadata({"tokenizer.ggml.tokens": [f"t{i}" for i in range(config["vocab_size"])]})

    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", vocabulary)


@pytest.mark.parametrize("name", SAME)
def test_where_nothing_is_transformed_the_tables_give_our_own_file(
    name: str, tmp_path: Path
) -> None:
    case = json.loads(CASES[name].read_text())
    case["config"].setdefault("vocab_size", case["n_tokens"])
    # llama.cpp needs it, and a generic file has what config.json says
    case["config"].setdefault("rms_norm_eps", 1e-6)
    write_case(tmp_path / "known" / "model", case)
    own = convert(tmp_path / "known" / "model", tmp_path / "own.gguf", ladder="BF16")
    case["config"]["architectures"] = ["NobodyKnowsForCausalLM"]
    write_case(tmp_path / "unknown" / "model", case)
    table = own.plan.source.architecture.name
    convert(tmp_path / "unknown" / "model", tmp_path / "new.gguf", ladder="BF16", generic=table)

    ours, theirs = (GGUFReader(tmp_path / f"{n}.gguf") for n in ("own", "new"))
    assert [t.name for t in theirs.tensors] == [t.name for t in ours.tensors]
    for a, b in zip(ours.tensors, theirs.tensors, strict=True):
        assert (a.tensor_type, a.shape.tolist()) == (b.tensor_type, b.shape.tolist())
        assert np.array_equal(a.data, b.data)
    values = [
        {k: f.contents() for k, f in r.fields.items() if not k.startswith("GGUF.")}
        for r in (ours, theirs)
    ]
    differ = {k for k in values[0] | values[1] if values[0].get(k) != values[1].get(k)}
    assert differ == {UNVERIFIED_KEY, *(f"{table}.{key}" for key in SAME[name])}


def test_gptj_is_converted_and_says_that_it_is_unverified(tmp_path: Path, capsys) -> None:
    write_checkpoint(tmp_path / "model", GPTJ, gptj_tensors())
    out = tmp_path / "out" / "gptj.gguf"
    words = ["convert", str(tmp_path / "model"), "--generic", "-o", str(out), "--ladder", "F32"]
    assert main([*words, "--no-self-test"]) == 0
    assert "UNVERIFIED, as gptj (--generic)" in capsys.readouterr().out

    file = GGUFReader(out)
    said = {key: field.contents() for key, field in file.fields.items()}
    assert said["general.architecture"] == "gptj"
    assert said[UNVERIFIED_KEY] is True
    assert (said["gptj.embedding_length"], said["gptj.rope.dimension_count"]) == (64, 8)
    tensors = {t.name: t for t in file.tensors}
    assert tensors.keys() == {
        *("token_embd.weight", "output_norm.weight", "output_norm.bias"),
        *("output.weight", "output.bias"),
        *(
            f"blk.{i}.{name}"
            for i in range(2)
            for name in (
                *("attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"),
                *("attn_norm.weight", "attn_norm.bias", "ffn_up.weight", "ffn_up.bias"),
                *("ffn_down.weight", "ffn_down.bias"),
            )
        ),
    }
    name = "transformer.h.1.attn.out_proj.weight"
    assert tensors["blk.1.attn_output.weight"].data.tobytes() == weights(name, [64, 64], "F32")
    (entry,) = json.loads((out.parent / "ladder.json").read_text())["files"].values()
    assert entry["source"]["generic"]["table"] == "gptj"
    assert main([*words, "--dry-run", "--json", "--no-self-test"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["generic"]["table"] == "gptj"

    assert verify(out, tmp_path / "model").same_file
    again = convert(out, tmp_path / "q8.gguf", ladder="Q8_0")
    assert again.plan.source.origin["generic"]["table"] == "gptj"
    assert again.plan.source.metadata(7)[UNVERIFIED_KEY] is True


def test_without_the_option_the_error_says_that_it_would_do(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", GPTJ, gptj_tensors())
    with pytest.raises(
        UnknownArchitectureError, match="--generic converts it, unverified, as g"
    ) as e:
        open_source(tmp_path / "model")
    assert e.value.generic == "gptj"
    assert e.value.closest in str(e.value)
    assert "docs/adding-an-architecture.md" in str(e.value)


def test_the_closest_of_an_unknown_class_is_that_with_its_tensors(tmp_path: Path) -> None:
    case = json.loads(CASES["starcoder2"].read_text())
    config = {**case["config"], "architectures": ["LlamaaForCausalLM"], "model_type": "new"}
    write_checkpoint(tmp_path / "model", config, case["checkpoint"])
    with pytest.raises(UnknownArchitectureError, match="no table for it either") as caught:
        open_source(tmp_path / "model")
    assert caught.value.closest == "Starcoder2ForCausalLM"
    assert caught.value.generic is None


def test_a_class_with_a_file_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="LlamaForCausalLM: leave out --generic"):
        open_source(write_llama(tmp_path / "model"), generic=True)
    with pytest.raises(ConversionError, match="--generic and --merge-lora are for checkpoints"):
        open_source(tmp_path / "model.gguf", generic=True)


def test_names_without_a_table_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", {**GPTJ, "architectures": ["Abc"]}, gptj_tensors())
    with pytest.raises(UnknownArchitectureError, match=r"no table for gpt-j6; the closest .* gptj"):
        open_source(tmp_path / "model", generic="gpt-j6")
    config = {"architectures": ["AbcForCausalLM"], "model_type": "abc"}
    with pytest.raises(UnknownArchitectureError, match="no table for AbcForCausalLM or abc"):
        made(config, ["x"])
    with pytest.raises(UnknownArchitectureError, match="a model without a name"):
        made({}, ["x"])
    with pytest.raises(UnknownArchitectureError):  # no language model
        made({}, ["x"], "clip")


def test_all_unmapped_and_missing_tensors_are_listed(tmp_path: Path, capsys) -> None:
    tensors = gptj_tensors()
    del tensors["transformer.wte.weight"], tensors["transformer.h.1.mlp.fc_in.weight"]
    strange = [f"transformer.h.{i}.strange.{j}.weight" for i in range(2) for j in range(30)]
    shapes = {**tensors, **dict.fromkeys(strange, ("F32", [4]))}
    write_checkpoint(tmp_path / "model", GPTJ, shapes)
    with pytest.raises(UnmappedTensorsError) as caught:
        open_source(tmp_path / "model", generic=True)
    error = caught.value
    assert sorted(error.unmapped) == sorted(strange)
    assert error.missing == ("token_embd.weight", "blk.1.ffn_up.weight")
    assert error.closest in {name for a in architectures() for name in a.hf_classes}
    text = str(error)
    for part in (
        "60 of",
        "h.{0-1}.strange.{0-29}",
        "blk.1.ffn_up",
        "adding-an-arch",
        error.closest,
    ):
        assert part in text
    words = ["convert", str(tmp_path / "model"), "--generic", "--json", "-o", str(tmp_path / "o")]
    assert main(words) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["error"] == "UnmappedTensorsError"
    assert sorted(printed["unmapped"]) == sorted(strange)


def test_a_block_that_is_not_there_is_missing(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", {**GPTJ, "n_layer": 3}, gptj_tensors())
    with pytest.raises(MissingWeightsError, match=r"blk\.2\.attn_k\.weight") as caught:
        open_source(tmp_path / "model", generic=True)
    assert len(caught.value.missing) == 7
    write_checkpoint(tmp_path / "model", {**GPTJ, "n_layer": 1}, gptj_tensors())
    with pytest.raises(UnmappedTensorsError, match=r"h\.1\.attn"):
        open_source(tmp_path / "model", generic=True)


@pytest.mark.parametrize("n", [10**12, -1, "x", [1]])
def test_counts_that_are_none_are_refused(tmp_path: Path, n) -> None:
    write_checkpoint(tmp_path / "model", {**GPTJ, "n_layer": n}, gptj_tensors())
    with pytest.raises(ConversionError, match="n_layer"):
        open_source(tmp_path / "model", generic=True)


def test_hostile_numbers_take_no_time(tmp_path: Path) -> None:
    started = time.perf_counter()
    names = [f"model.layers.{i}.mlp.experts.{10**17 + i}.up_proj.weight" for i in range(2000)]
    names += ["model.layers.01.mlp.up_proj.weight", f"model.layers.{'9' * 300}.mlp.up_proj.weight"]
    config = {"architectures": ["Qwen2Moe"], "num_hidden_layers": 1 << 14, "num_experts": 1 << 14}
    with pytest.raises(TensorNamesError) as caught:
        made(config, names, "qwen2moe")
    assert time.perf_counter() - started < 20
    assert set(names[-2:]) <= set(caught.value.unmapped)
    assert len(str(caught.value)) < 20_000


def test_experts_that_are_not_there_are_missing(tmp_path: Path) -> None:
    case = json.loads(CASES["qwen2_moe"].read_text())
    case["config"] |= {"architectures": ["NewMoeForCausalLM"], "vocab_size": case["n_tokens"]}
    del case["checkpoint"]["model.layers.1.mlp.experts.2.up_proj.weight"]
    write_checkpoint(tmp_path / "model", case["config"], case["checkpoint"])
    with pytest.raises(MissingWeightsError, match=r"blk\.1\.ffn_up_exps\.weight \(expert 2 of 4\)"):
        open_source(tmp_path / "model", generic="qwen2moe")


def test_names_are_found_however_they_are_spelt() -> None:
    for given, name in (
        ({"architectures": ["GPTJForCausalLM"]}, "gptj"),
        ({"architectures": ["FalconH1ForCausalLM"]}, "falcon-h1"),
        ({"architectures": ["Foo"], "model_type": "minimax_m2"}, "minimax-m2"),
        ({"architectures": ["Foo"], "text_config": {"model_type": "plamo2"}}, "plamo2"),
        ({"architectures": "Foo", "model_type": 3}, None),
    ):
        assert generic_name(given) == name


def made(config, names, requested=None):
    return generic_architecture(config, names, requested, known=architectures()).architecture


def test_what_models_of_that_name_transform_is_said(tmp_path: Path, capsys) -> None:
    source = write_llama(tmp_path / "model")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "architectures": ["StrangeLM"]}))
    out = tmp_path / "out"
    assert main(["convert", str(source), "--generic", "--no-self-test", "-o", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())  # where lines end depends on the terminal
    assert "UNVERIFIED, as llama" in said
    assert "these are transformed: blk.{i}.attn_k, blk.{i}.attn_q." in said
    card = model_card(LadderFolder.open(out), "me/strange")
    assert "**unverified** (`--generic`, as `llama`)" in card
    assert "the bytes are those of llama.cpp" not in card


def test_one_table_does_not_leak_into_another() -> None:
    config = {"architectures": ["X"], "num_hidden_layers": 1}
    norm = "model.layers.0.residual_layernorm.weight"
    names = ["model.embed_tokens.weight", "model.norm.weight", norm]
    assert made(config, names, "arctic").weights[-1].name == "blk.{i}.ffn_norm"
    with pytest.raises(UnmappedTensorsError, match="residual_layernorm"):
        made(config, names, "gptj")


def test_the_classes_of_all_files_are_still_theirs() -> None:
    assert all(find_architecture({"architectures": [a.hf_classes[0]]}) for a in architectures())


@pytest.mark.parametrize("name", ["gptj", "qwen2_moe"])
def test_any_value_of_the_config_is_used_or_refused(name: str) -> None:
    config, tensors = GPTJ, gptj_tensors()
    if name != "gptj":
        case = json.loads(CASES[name].read_text())
        config, tensors = case["config"], case["checkpoint"]
    n_made = 0
    for key, value in product([*config, "text_config", "rotary_dim"], JUNK):
        junk = {"num_hidden_layers": 2, **config, key: value}
        with suppress(GGUFKitError):
            architecture = made(junk, list(tensors), name.replace("_", ""))
            with config_errors(architecture):
                complete = complete_config(architecture, junk)
                map_tensors(architecture, tensors, Context(complete, 512))
                write_hparams(architecture, complete, 32)
            n_made += 1
        with suppress(GGUFKitError):
            find_architecture({**junk, "architectures": ["Nobody", value]}, [*tensors][:9])
    assert n_made > len(config)
