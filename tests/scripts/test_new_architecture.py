"""The parts of ``scripts/new_architecture`` that need neither torch nor llama.cpp."""

from __future__ import annotations

import ast
import doctest
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.reference import differences as differences_module
from scripts.reference import main, tiny_config
from scripts.reference import skeleton as skeleton_module
from scripts.reference.case import FOLDER, as_text
from scripts.reference.differences import data_difference, differences
from scripts.reference.environment import PACKAGES, VARIABLE, chosen
from scripts.reference.origins import Origin, RowIndex, patterns
from scripts.reference.skeleton import own_hparams, skeleton
from scripts.reference.tiny_config import changes, shrink

MODULES = (differences_module, skeleton_module, tiny_config)
CASES = sorted(FOLDER.glob("*.json"))

DOTS1 = {
    "architectures": ["Dots1ForCausalLM"],
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "max_position_embeddings": 32768,
    "moe_intermediate_size": 1408,
    "n_group": 1,
    "n_routed_experts": 128,
    "n_shared_experts": 2,
    "num_attention_heads": 32,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 62,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000000,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "vocab_size": 152064,
}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_sizes_shrink_and_all_else_stays() -> None:
    assert shrink(DOTS1) == DOTS1 | {
        "hidden_size": 64,
        "intermediate_size": 96,
        "moe_intermediate_size": 32,
        "n_routed_experts": 8,
        "num_attention_heads": 4,
        "num_experts_per_tok": 3,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "vocab_size": 320,
    }


@pytest.mark.parametrize(
    ("config", "n_layers"),
    [
        ({"num_hidden_layers": 32}, 3),
        ({"num_hidden_layers": 2}, 2),
        ({"num_hidden_layers": 26, "sliding_window_pattern": 6}, 6),
        ({"num_hidden_layers": 61, "first_k_dense_replace": 3}, 4),
        ({"n_layer": 12, "no_rope_layers": [1, 1, 1, 0] * 3}, 4),
        ({"num_hidden_layers": 80, "layer_types": ["a"] * 79 + ["b"]}, 8),  # no more than these
    ],
)
def test_there_are_as_many_layers_as_kinds_need(config: dict[str, Any], n_layers: int) -> None:
    small = shrink(config)
    assert small[next(key for key in config if key.startswith("n"))] == n_layers
    lists = [value for value in small.values() if isinstance(value, list)]
    assert all(len(value) == n_layers for value in lists)


def test_lists_keep_their_first_layers() -> None:
    types = ["linear_attention"] * 3 + ["full_attention"]
    small = shrink({"num_hidden_layers": 48, "layer_types": types * 12, "other": [1, 2, 3]})
    assert small == {"num_hidden_layers": 4, "layer_types": types, "other": [1, 2, 3]}
    by_layer = {"num_hidden_layers": 9, "per_layer_config": {"0": {"a": 1}, "5": {"a": 2}}}
    assert shrink(by_layer)["per_layer_config"] == {"0": {"a": 1}}


def test_heads_that_are_not_the_width_divided_stay_so() -> None:
    heads = {"hidden_size": 1024, "num_attention_heads": 16}
    assert shrink(heads | {"head_dim": 64})["head_dim"] == 16
    assert shrink(heads | {"head_dim": 128})["head_dim"] == 32
    assert shrink(heads | {"head_dim": None})["head_dim"] is None


@pytest.mark.parametrize(("before", "after"), [(32, 4), (8, 2), (1, 1), (None, None)])
def test_heads_share_keys_where_they_did(before: int | None, after: int | None) -> None:
    small = shrink({"num_attention_heads": 32, "num_key_value_heads": before})
    assert small == {"num_attention_heads": 4, "num_key_value_heads": after}


def test_positions_are_cut_only_where_they_may_be_a_tensor() -> None:
    assert shrink({"max_position_embeddings": 8192})["max_position_embeddings"] == 512
    rotary = {"max_position_embeddings": 8192, "rope_theta": 1e4}
    assert shrink(rotary) == rotary


def test_parts_shrink_by_the_same_rules() -> None:
    vision = {"hidden_size": 1152, "depth": 27, "out_hidden_size": 4096, "patch_size": 14}
    small = shrink({"text_config": {"hidden_size": 4096}, "vision_config": vision})
    assert small["text_config"]["hidden_size"] == small["vision_config"]["out_hidden_size"] == 64
    assert small["vision_config"] == vision | {"hidden_size": 64, "depth": 3, "out_hidden_size": 64}


def test_what_depends_on_others_still_fits() -> None:
    small = shrink(
        {
            "vocab_size": 151936,
            "eos_token_id": [151645, 7],
            "head_dim": 128,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        }
    )
    assert small["eos_token_id"] == [319, 7]
    assert sum(small["rope_scaling"]["mrope_section"]) == small["head_dim"] // 2
    latent = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "qk_head_dim": 192}
    small = shrink(latent | {"v_head_dim": 128, "kv_lora_rank": 512})
    assert small["qk_head_dim"] == small["qk_nope_head_dim"] + small["qk_rope_head_dim"] == 48


def test_sizes_that_no_rule_knows_keep_their_ratio() -> None:
    small = shrink({"hidden_size": 2560, "lru_width": 2560, "laurel_rank": 5120, "image_size": 896})
    assert small == {"hidden_size": 64, "lru_width": 64, "laurel_rank": 128, "image_size": 896}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_is_small_already_stays_so(path: Path) -> None:
    config = json.loads(path.read_text())["config"]
    small = shrink(config)
    assert shrink(small) == small
    assert small.keys() == config.keys()


def test_changes_are_said() -> None:
    before = {"a": 1, "b": {"c": 2, "d": 3}, "types": ["x"] * 60, "kept": True}
    after = {"a": 1, "b": {"c": 2, "d": 4}, "types": ["x"], "kept": True, "new": None}
    assert changes(before, after) == ["b.d: 3 -> 4", 'types: 60 x "x" -> ["x"]']


FILE = {
    "metadata": [
        ["general.architecture", "STRING", "x"],
        ["x.block_count", "UINT32", 2],
        ["x.context_length", "UINT32", 512],
        ["x.rope.freq_base", "FLOAT32", 10000.0],
    ],
    "tensors": [
        ["token_embd.weight", [320, 64], "BF16", "aa"],
        ["blk.0.attn_q.weight", [64, 64], "BF16", "bb"],
        ["output_norm.weight", [64], "F32", "cc"],
    ],
}


def test_the_same_file_has_no_differences() -> None:
    assert differences(FILE, deepcopy(FILE)) == []


def changed(kind: str, edit: Any) -> list[str]:
    other = deepcopy(FILE)
    edit(other[kind])
    return differences(FILE, other, lambda name: f": explained for {name}")


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (
            lambda rows: rows.pop(1),
            "key missing: x.block_count = 2 (UINT32), after general.architecture",
        ),
        (
            lambda rows: rows.insert(0, ["x.more", "BOOL", True]),
            "key extra: x.more = True (BOOL), first",
        ),
        (
            lambda rows: rows.append(rows.pop(1)),
            "key moved: x.block_count is after x.rope.freq_base, llama.cpp has it after "
            "general.architecture",
        ),
        (
            lambda rows: rows[1].__setitem__(1, "INT32"),
            "key type: x.block_count is INT32, llama.cpp writes UINT32",
        ),
        (
            lambda rows: rows[3].__setitem__(2, 500000.0),
            "key value: x.rope.freq_base is 500000.0, llama.cpp writes 10000.0",
        ),
    ],
)
def test_differences_of_keys(edit: Any, line: str) -> None:
    assert changed("metadata", edit) == [line]


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (
            lambda rows: rows.pop(0),
            "tensor missing: token_embd.weight BF16 [320, 64], first",
        ),
        (
            lambda rows: rows.append(["output.weight", [320, 64], "BF16", "dd"]),
            "tensor extra: output.weight BF16 [320, 64], after output_norm.weight",
        ),
        (
            lambda rows: rows.insert(0, rows.pop()),
            "tensor moved: output_norm.weight is first, llama.cpp has it after blk.0.attn_q.weight",
        ),
        (
            lambda rows: rows[2].__setitem__(1, [1, 64]),
            "tensor shape: output_norm.weight is [1, 64], llama.cpp writes [64]",
        ),
        (
            lambda rows: rows[2].__setitem__(2, "BF16"),
            "tensor type: output_norm.weight is BF16, llama.cpp writes F32",
        ),
        (
            lambda rows: rows[1].__setitem__(3, "b0"),
            "tensor data: blk.0.attn_q.weight differs: explained for blk.0.attn_q.weight",
        ),
    ],
)
def test_differences_of_tensors(edit: Any, line: str) -> None:
    assert changed("tensors", edit) == [line]


def test_data_that_belong_elsewhere_are_recognised() -> None:
    other = deepcopy(FILE)
    other["tensors"][1][3] = FILE["tensors"][0][3]
    assert differences(FILE, other) == [
        "tensor data: blk.0.attn_q.weight differs: llama.cpp writes the same as token_embd.weight"
    ]


def test_several_differences_come_in_the_order_of_llama_cpps_file() -> None:
    other = deepcopy(FILE)
    other["tensors"][0][3] = "00"
    other["metadata"][3][2] = 1.0
    del other["metadata"][0]
    kinds = [line.split(":")[0] for line in differences(FILE, other)]
    assert kinds == ["key missing", "key value", "tensor data"]


def test_how_data_differ_is_said() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert data_difference(values, values[::-1]) == ": the same rows in another order"
    other = values.copy()
    other[2, 1] += 0.5
    other[3, 0] += 0.25
    assert data_difference(values, other) == (
        ": 2 of 12 values, by up to 0.5, first at [2, 1]: 7.5, llama.cpp has 7"
    )
    zeros = np.zeros(2, np.float32)
    assert "their bytes are not" in data_difference(zeros, -zeros)


@pytest.fixture
def index() -> RowIndex:
    random = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    return RowIndex(
        {
            "q": values(8, 4),
            "k": values(8, 4),
            "norm": values(4),
            "conv": values(4, 1, 3),
            "A_log": values(4, 2),
            "experts.0.up": values(6, 4),
            "experts.1.up": values(6, 4),
            "experts.2.up": values(6, 4),
        }
    )


@pytest.mark.parametrize(
    ("make", "sources", "how"),
    [
        (lambda t: t["q"], ["q"], "as it is"),
        (lambda t: t["conv"].reshape(4, 3), ["conv"], "reshaped from [4, 1, 3]"),
        (lambda t: t["q"][[0, 4, 1, 5, 2, 6, 3, 7]], ["q"], "rows reordered"),
        (lambda t: t["q"][2:6], ["q"], "rows 2..5 of 8"),
        (lambda t: t["q"][::2], ["q"], "4 of 8 rows, the first are [0, 2, 4, 6]"),
        (
            lambda t: np.stack([t[f"experts.{e}.up"] for e in range(3)]),
            ["experts.0.up", "experts.1.up", "experts.2.up"],
            "stacked",
        ),
        (lambda t: np.concatenate([t["k"], t["q"]]), ["k", "q"], "concatenated"),
        (lambda t: np.concatenate([t["k"][:2], t["q"][:2]]), ["k", "q"], "rows of several"),
        (lambda t: np.ascontiguousarray(t["q"].T), ["q"], "transposed"),
        (lambda t: t["norm"] + np.float32(1), ["norm"], "one more: the file has x + 1"),
        (
            lambda t: -np.exp(t["A_log"]),
            ["A_log"],
            "negative exponential: the file has -exp(x)",
        ),
        (
            lambda t: t["k"] * t["q"],
            [],
            "computed, perhaps from one with as many values: q, k",
        ),
        (
            lambda t: np.ones(7, np.float32),
            [],
            "computed: no tensor of the checkpoint has as many ",
        ),
    ],
)
def test_origins_are_found_by_values(
    index: RowIndex, make: Any, sources: list[str], how: str
) -> None:
    origin = index.origin("x", make(index.tensors))
    assert list(origin.sources) == sources
    assert origin.how.startswith(how)


def test_blocks_and_experts_become_patterns() -> None:
    found = [
        Origin("token_embd.weight", ("model.embed.weight",), "as it is"),
        *(
            Origin(
                f"blk.{i}.ffn_up_exps.weight",
                tuple(f"model.layers.{i}.experts.{e}.up.weight" for e in range(3)),
                "stacked",
            )
            for i in (1, 2)
        ),
        Origin("blk.3.nextn.eh_proj.weight", ("mtp.fc.weight",), "as it is"),
    ]
    assert [(p.name, p.sources, p.blocks) for p in patterns(found)] == [
        ("token_embd.weight", ("model.embed.weight",), ()),
        (
            "blk.{i}.ffn_up_exps.weight",
            ("model.layers.{i}.experts.{e}.up.weight",),
            (1, 2),
        ),
        ("blk.{i}.nextn.eh_proj.weight", ("mtp.fc.weight",), (3,)),
    ]


def test_hparams_of_the_class_itself_follow_the_common_ones() -> None:
    metadata = [
        ["x.block_count", "UINT32", 2],
        ["general.file_type", "UINT32", 32],
        ["x.expert_weights_scale", "FLOAT32", 2.5],
        ["x.expert_weights_norm", "BOOL", True],
        ["x.unknown", "UINT32", 77],
        ["general.quantization_version", "UINT32", 2],
    ]
    config = {"routed_scaling_factor": 2.5, "norm_topk_prob": True, "n": 1, "layers": 2}
    assert own_hparams(metadata, "x", config) == [
        ("expert_weights_scale", 2.5, ["routed_scaling_factor"]),
        ("expert_weights_norm", True, ["norm_topk_prob"]),
        ("unknown", 77, []),
    ]


def test_the_draft_is_a_file_with_all_that_is_known() -> None:
    case = {
        "config": {
            "architectures": ["NewForCausalLM"],
            "model_type": "new",
            "first_k_dense_replace": 1,
        },
        "metadata": [
            ["general.architecture", "STRING", "new-moe"],
            ["new-moe.block_count", "UINT32", 2],
            ["general.file_type", "UINT32", 32],
            ["new-moe.leading_dense_block_count", "UINT32", 1],
            ["new-moe.strange", "UINT32", 9],
        ],
    }
    found = {
        "converter": "conversion/new.py NewModel",
        "vocabulary": ["_set_vocab_gpt2"],
        "defaults": {"first_k_dense_replace": 0, "rope_theta": 10000.0, "other": 1},
    }
    layer = "model.layers.{i}"
    decoder = {"token_embd": "embed", "blk.{i}.attn_q": f"{layer}.q", "output": "lm_head"}
    seen = patterns(
        [
            Origin("token_embd.weight", ("embed.weight",), "as it is"),
            *(
                origin
                for i in range(2)
                for origin in (
                    Origin(f"blk.{i}.attn_q.weight", (f"model.layers.{i}.q.weight",), "as it is"),
                    Origin(f"blk.{i}.attn_q.bias", (f"model.layers.{i}.q.bias",), "as it is"),
                    Origin(f"blk.{i}.attn_k.weight", (f"model.layers.{i}.kv.weight",), "rows 0..3"),
                )
            ),
            Origin("blk.1.exp_probs_b.bias", ("model.layers.1.gate.correction",), "as it is"),
            Origin("rope_freqs.weight", (), "computed"),
        ]
    )
    text = skeleton(case, found, seen, decoder)
    ast.parse(text)
    for line in (
        "Source: llama.cpp conversion/new.py NewModel; transformers new.",
        "from ggufkit.mapping.blocks import HPARAMS, decoder, without",
        "NEW_MOE = Architecture(",
        '    tokenizer="gpt2",  # set_vocab calls _set_vocab_gpt2',
        '        Hparam("leading_dense_block_count", "first_k_dense_replace"),',
        '        # Hparam("strange", ...): no key of the config has the value 9',
        '        *without(decoder(), "output"),',
        '        Weight("blk.{i}.attn_k", "model.layers.{i}.kv"),  # rows 0..3',
        '        Weight("blk.{i}.exp_probs_b.bias", "model.layers.{i}.gate.correction", '
        "full_name=True),  # in blocks 1",
        '        # "rope_freqs.weight": computed',
        '    export=ExportSpec("new"),',
    ):
        assert line in text.splitlines()
    namespace: dict[str, Any] = {}
    exec(text[text.index("NEW_MOE") :].replace("*HPARAMS,", ""), _stand_ins(), namespace)
    made = namespace["NEW_MOE"]
    assert made["defaults"] == {"rope_theta": 10000.0, "first_k_dense_replace": 0}
    assert len(made["weights"]) == 3


def _stand_ins() -> dict[str, Any]:
    def positional(*arguments: Any, **_: Any) -> Any:
        return arguments

    return {
        "Architecture": lambda **fields: fields,
        "ExportSpec": positional,
        "Hparam": positional,
        "Weight": positional,
        "decoder": positional,
        "without": lambda *_: ("decoder",),
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases_are_written_as_they_are_stored(path: Path) -> None:
    text = path.read_text()
    assert as_text(json.loads(text)) == text


def test_a_stored_case_is_replaced_only_on_demand(tmp_path: Path, capsys) -> None:
    case = {"config": {}, "files": {}, "n_tokens": 1, "checkpoint": {}}
    case |= {"metadata": [], "tensors": []}
    path = tmp_path / "x.json"
    for new, replace, said in (
        (case, False, "written"),
        (case, False, "unchanged"),
        (case | {"n_tokens": 2}, False, "--replace"),
        (case | {"n_tokens": 2}, True, "written"),
    ):
        main.store(new, path, replace)
        assert said in capsys.readouterr().out
    assert json.loads(path.read_text())["n_tokens"] == 2


def asked(*arguments: str) -> dict[str, Any]:
    return main.request(main.parser().parse_args(arguments))


def test_a_config_is_read_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(DOTS1 | {"model_type": "dots1"}))
    made = asked("Dots1ForCausalLM", "--config", str(path), "--set", "a=[1]", "--set", "b=x")
    assert (made["name"], made["set"]) == ("dots1", {"a": [1], "b": "x"})
    assert made["config"]["hidden_size"] == 4096
    made = asked("Dots1ForCausalLM", "--config", str(path), "--shrink", "--verbatim-config")
    assert made["config"]["hidden_size"] == 64
    assert made["verbatim"]


def test_a_whole_case_brings_its_checkpoint_and_files(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(
        json.dumps({"config": {}, "checkpoint": {"a": ["BF16", [2]]}, "files": {"x.json": 1}})
    )
    (tmp_path / "more" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "more" / "1_Pooling" / "config.json").write_text("{}")
    made = asked("C", "--config", f"{tmp_path}/case.json", "--files", f"{tmp_path}/more")
    assert made["checkpoint"] == {"a": ["BF16", [2]]}
    assert made["files"] == {"x.json": 1, "1_Pooling/config.json": {}}


@pytest.mark.parametrize("arguments", [("--shrink",), ("--config", "{}", "--shrink")])
def test_shrink_needs_a_config(arguments: tuple[str, ...], tmp_path: Path, capsys) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"config": {"a": 1}, "checkpoint": {}}))
    given = [f"{tmp_path}/case.json" if a == "{}" else a for a in arguments]
    with pytest.raises(SystemExit, match="2"):
        asked("C", *given)
    assert "--shrink needs" in capsys.readouterr().err


def test_a_config_of_another_class_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DOTS1))
    with pytest.raises(SystemExit, match="2"):
        asked("C", "--config", f"{tmp_path}/config.json")
    assert "is of Dots1ForCausalLM, not of C" in capsys.readouterr().err


def test_the_environment_is_the_one_that_was_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert chosen(None).folder == tmp_path / "named"
    given = chosen(tmp_path / "given")
    assert given.folder == tmp_path / "given"
    assert not given.is_ready()
    given.python.parent.mkdir(parents=True)
    given.python.touch()
    (given.llama_cpp / "conversion").mkdir(parents=True)
    assert not given.is_ready()  # pip may have been interrupted
    given.stamp.write_text("\n".join(PACKAGES))
    assert given.is_ready()
    monkeypatch.delenv(VARIABLE)
    assert chosen(None).folder.parts[-2:] == ("ggufkit", "reference")
