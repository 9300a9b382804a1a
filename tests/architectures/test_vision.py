"""Vision encoders of tiny checkpoints against what convert_hf_to_gguf.py --mmproj makes of them.

Each file of ``vision`` holds a config, the names and shapes of tensors, and for each type name
and SHA-256 of the converter's file when the weights are those of
`tests.architectures.checkpoints`; but that of LLaVA, for which the converter has no class.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.architectures.vision import FAMILIES, find_vision
from ggufkit.converter.ladder import plan_ladder, run_plan
from ggufkit.converter.sources.mmproj import MmprojSource
from ggufkit.errors import (
    ConversionError,
    MissingWeightsError,
    OutputError,
    UnknownArchitectureError,
)
from tests.architectures.checkpoints import write_checkpoint
from tests.converter.files import write_file

CASES = {p.stem: json.loads(p.read_text()) for p in Path(__file__).parent.glob("vision/*.json")}


def write_case(case: dict[str, Any], folder: Path) -> Path:
    write_checkpoint(folder, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (folder / path).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("outtype", ["f16", "f32", "bf16", "q8_0"])
@pytest.mark.parametrize("name", [name for name in CASES if "expected" in CASES[name]])
def test_the_file_is_the_converters(name: str, outtype: str, tmp_path: Path) -> None:
    folder = write_case(CASES[name], tmp_path / name)
    path = write_file(MmprojSource.open(folder, outtype=outtype), tmp_path / "out")
    expected = CASES[name]["expected"][outtype]
    assert path.name == expected["name"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected["sha256"]


def test_every_family_is_checked() -> None:
    assert {id(find_vision(case["config"])) for case in CASES.values()} == set(map(id, FAMILIES))


def test_llavas_file_has_what_llama_cpp_runs(tmp_path: Path) -> None:
    source = MmprojSource.open(write_case(CASES["llava"], tmp_path / "m"))
    shapes = {tensor.name: tensor.shape for tensor in source.tensors}
    assert shapes["v.class_embd"] == (32,)
    assert shapes["v.position_embd.weight"] == (5, 32)
    assert {name for name in shapes if name.startswith("mm.")} == {
        f"mm.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")
    }
    # it would be applied, and LLaVA does not
    assert not any("post_ln" in name for name in shapes)


def test_names_of_newer_transformers_are_the_same(tmp_path: Path) -> None:
    case = dict(CASES["gemma3"])
    case["checkpoint"] = {
        f"model.{name.replace('vision_tower.vision_model.', 'vision_tower.')}": tensor
        for name, tensor in case["checkpoint"].items()
    }
    old = MmprojSource.open(write_case(CASES["gemma3"], tmp_path / "a" / "m"))
    new = MmprojSource.open(write_case(case, tmp_path / "b" / "m"))
    by_name = {tensor.name: tensor.shape for tensor in old.tensors}
    assert {tensor.name: tensor.shape for tensor in new.tensors} == by_name


def test_other_families_are_refused_with_those_that_can() -> None:
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "vision_config": {"model_type": "siglip_vision_model"},
    }
    with pytest.raises(UnknownArchitectureError, match=r"siglip_vision_model.*Gemma3ForCond"):
        find_vision(config)
    for name in ("MllamaForConditionalGeneration", "LlamaForCausalLM"):
        with pytest.raises(UnknownArchitectureError, match=f"{name}, whose vision encoder"):
            find_vision({"architectures": [name]})


def seen(name: str, **vision: Any) -> dict[str, Any]:
    return changed(name, vision_config={**CASES[name]["config"]["vision_config"], **vision})


def changed(name: str, **config: Any) -> dict[str, Any]:
    case = dict(CASES[name])
    case["config"] = {**case["config"], **config}
    return case


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (changed("gemma3", vision_config=None), "no vision encoder"),
        (changed("gemma3") | {"files": {}}, "lacks image_mean"),
        (changed("gemma3") | {"checkpoint": {"x": ["BF16", [2, 2]]}}, "no tensors of a vision"),
        (seen("gemma3", num_hidden_layers=10**15), "can't have 1000000000000000 blocks"),
        (seen("gemma3", num_hidden_layers="4"), "can't have '4' blocks"),
        (seen("qwen3_vl", deepstack_visual_indexes=[None]), "has a value that clip can't have"),
        (seen("gemma3", image_size=[1]), "has a value"),
        (changed("gemma3", text_config={}), "lacks 'hidden_size'"),
        (seen("qwen2_5_vl", fullatt_block_indexes=[1, 2]), "not regular"),
        (seen("pixtral", hidden_act="relu"), "hidden_act 'relu'"),
        (seen("llava", hidden_act="relu"), "hidden_act 'relu'"),
        (changed("llava", vision_feature_layer=-1), "can have -2 alone"),
        (changed("llava", vision_feature_select_strategy="full"), "can have 'default' alone"),
    ],
)
def test_what_is_missing_is_said(case: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_case(case, tmp_path / "m")
    with pytest.raises((ConversionError, MissingWeightsError), match=message):
        MmprojSource.open(folder)


def test_no_file_is_replaced_without_force(tmp_path: Path) -> None:
    source = MmprojSource.open(write_case(CASES["smolvlm"], tmp_path / "m"))
    path = tmp_path / "x.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--force"):
        write_file(source, path)
    assert path.read_bytes() == b"mine"
    assert write_file(source, path, force=True) == path
    assert path.read_bytes().startswith(b"GGUF")


def test_a_file_has_sums_a_record_and_is_not_made_twice(tmp_path: Path) -> None:
    folder = write_case(CASES["smolvlm"], tmp_path / "m")
    path = write_file(MmprojSource.open(folder, outtype="q8_0"), tmp_path / "out")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (path.parent / "SHA256SUMS").read_text() == f"{digest}  {path.name}\n"
    entry = json.loads((path.parent / "ladder.json").read_text())["files"][path.name]
    assert (entry["file_type"], entry["source"]["part"]) == ("Q8_0", "mmproj")
    assert entry["weight_error"]["rmse"] > 0
    again = run_plan(plan_ladder(MmprojSource.open(folder, outtype="q8_0"), tmp_path / "out"))
    assert again.done_before == ("Q8_0",)


def test_no_other_file_type_can_be_asked_for(tmp_path: Path) -> None:
    source = MmprojSource.open(write_case(CASES["smolvlm"], tmp_path / "m"), outtype="q8_0")
    with pytest.raises(ConversionError, match="Q4_K_M: this file can be Q8_0 only"):
        plan_ladder(source, tmp_path, "Q4_K_M")
