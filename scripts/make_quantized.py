"""Make tests/checkpoint/quantized: what the real libraries pack, and what they unpack it to.

Run it where torch, transformers 5.23, accelerate, compressed-tensors 0.20, hqq 0.2, torchao 0.18,
bitsandbytes 0.50, auto-gptq 0.7 and autoawq 0.2 are; the repository needs none of them. Each file
has the parts of ``layer.weight``, and as ``expected`` what the library unpacks, in float32; its
metadata has the quantization_config.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parents[1] / "tests" / "checkpoint" / "quantized"
SHAPE = (16, 64)
WIDER = (32, 64)  # what codes of several outputs to a word need


def weight(shape: tuple[int, int] = SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator) / 20


def save(name: str, config: dict, parts: dict[str, torch.Tensor], expected: torch.Tensor) -> None:
    tensors = {key: value.detach().contiguous().cpu() for key, value in parts.items()}
    tensors["expected"] = expected.detach().float().contiguous()
    metadata = {"config": json.dumps({"quantization_config": config})}
    save_file(tensors, OUT / f"{name}.safetensors", metadata)


def compressed(name: str, form: str, **args) -> None:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import (
        calculate_qparams,
        generate_gparam,
    )

    quantization = QuantizationArgs(**args)
    activations = QuantizationArgs(num_bits=8, type=quantization.type)
    scheme = QuantizationScheme(
        targets=["Linear"], weights=quantization, input_activations=activations
    )
    w = weight()
    rows, cols = SHAPE
    strategy = str(quantization.strategy)
    if strategy.endswith("block"):
        height, width = quantization.block_structure
        tiles = w.reshape(rows // height, height, cols // width, width).transpose(1, 2)
        tiles = tiles.reshape(rows // height, cols // width, -1)
    elif strategy.endswith("group"):
        tiles = w.reshape(rows, -1, quantization.group_size)
    elif strategy.endswith("channel"):
        tiles = w.reshape(rows, 1, cols)
    else:
        tiles = w.reshape(1, 1, -1)
    low, high = tiles.amin(-1), tiles.amax(-1)
    state = {"weight": w}
    factor = None
    if strategy.endswith("tensor_group"):
        factor = generate_gparam(w.min(), w.max())
        state["weight_global_scale"] = factor
    scale, zero = calculate_qparams(low, high, quantization, global_scale=factor)
    if "fp4" not in form and "mx" not in form:
        scale = scale.bfloat16().float()
    if strategy.endswith("tensor"):
        scale, zero = scale.reshape(1), zero.reshape(1)
    state |= {"weight_scale": scale, "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(form)
    packed = compressor.compress(state, scheme)
    expected = compressor.decompress(dict(packed), scheme)["weight"]
    if "fp4" not in form and "mx" not in form:
        packed["weight_scale"] = scale.bfloat16()  # as models in BF16 have it
    config = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"weights": json.loads(quantization.model_dump_json())}},
    }
    save(name, config, {f"layer.{key}": value for key, value in packed.items()}, expected)


def hqq(name: str, nbits: float, group_size: int | None, axis: int, **more) -> None:
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    layer = torch.nn.Linear(SHAPE[1], SHAPE[0], bias=False)
    layer.weight.data = weight()
    settings = BaseQuantizeConfig(nbits=nbits, group_size=group_size, axis=axis, **more)
    packed = HQQLinear(layer, settings, compute_dtype=torch.float32, device="cpu")
    parts = {
        f"layer.{key}": value for key, value in packed.state_dict().items() if value is not None
    }
    config = {"quant_method": "hqq", "quant_config": {}}
    save(name, config, parts, packed.dequantize())


def torchao(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    tensor = make(weight())
    parts, _ = flatten_tensor_state_dict({"layer.weight": tensor})
    save(name, {"quant_method": "torchao"}, parts, tensor.dequantize())


def torchao_quantized(name: str, settings: object) -> None:
    from torchao.quantization import quantize_

    model = torch.nn.Sequential(torch.nn.Linear(SHAPE[1], SHAPE[0], bias=False))
    model[0].weight.data = weight()
    quantize_(model, settings)
    torchao(name, lambda _: model[0].weight)


def llm_int8() -> None:
    import bitsandbytes.functional as bnb

    codes, scb, _ = bnb.int8_vectorwise_quant(weight().half())
    parts = {"layer.weight": codes, "layer.SCB": scb}
    parts["layer.weight_format"] = torch.tensor(0, dtype=torch.uint8)
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    save("bitsandbytes-int8", config, parts, bnb.int8_vectorwise_dequant(codes, scb))


def gpt_oss() -> None:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(0, 256, (2, 4, 2, 16), generator=generator).to(torch.uint8)
    scales = torch.randint(110, 130, (2, 4, 2), generator=generator).to(torch.uint8)
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    parts = {"layer.weight_blocks": blocks, "layer.weight_scales": scales}
    # transformers has the inputs first
    save("mxfp4-gpt-oss", {"quant_method": "mxfp4"}, parts, expected.transpose(1, 2))


def bare(package: str) -> None:
    """Let parts of a package be imported without what its ``__init__`` imports."""
    if package not in sys.modules:
        found = importlib.util.find_spec(package)
        sys.modules[package] = module = types.ModuleType(package)
        module.__spec__, module.__path__ = found, list(found.submodule_search_locations)


def ranges(bits: int, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales and zero points of the groups, (n_rows, n_groups), as float16 holds them."""
    groups = weight(WIDER).reshape(WIDER[0], -1, group)
    low, high = groups.amin(-1), groups.amax(-1)
    scales = ((high - low) / (2**bits - 1)).half().float()
    # AutoGPTQ stores them less one
    return scales, (-low / scales).round().clamp(1, 2**bits - 1)


def linear() -> torch.nn.Linear:
    layer = torch.nn.Linear(WIDER[1], WIDER[0], bias=False)
    layer.weight.data = weight(WIDER)
    return layer


def gptq(bits: int) -> None:
    bare("auto_gptq")
    bare("auto_gptq.nn_modules")
    bare("auto_gptq.nn_modules.qlinear")
    from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear

    scales, zeros = ranges(bits, 32)
    packed = QuantLinear(bits, 32, WIDER[1], WIDER[0], False, use_cuda_fp16=False)
    order = torch.arange(WIDER[1], dtype=torch.int32) // 32
    packed.pack(linear(), scales, zeros, order)
    parts = {f"layer.{key}": value for key, value in packed.state_dict().items()}
    # the same weights times one, computed in float32
    packed.scales = packed.scales.float()
    expected = packed(torch.eye(WIDER[1])).T
    config = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": False}
    save(f"gptq-{bits}", {**config, "sym": False}, parts, expected)


def awq() -> None:
    bare("awq")
    bare("awq.modules")
    bare("awq.modules.linear")
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    scales, zeros = ranges(4, 32)
    packed = WQLinear_GEMM.from_linear(linear(), 4, 32, scales=scales.T, zeros=zeros.T)
    parts = {f"layer.{key}": value for key, value in packed.state_dict().items()}
    args = packed.qweight, packed.qzeros, packed.scales.float(), 4, 32
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}
    save("awq-4", config | {"zero_point": True}, parts, dequantize_gemm(*args).T)


def fp8(name: str, scale_fmt: str | None) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

    settings = {"weight_block_size": [8, 32], "scale_fmt": scale_fmt}
    quantizer = types.SimpleNamespace(quantization_config=types.SimpleNamespace(**settings))
    parts = Fp8Quantize(quantizer).convert({"layer.weight": weight()})
    found = {key.removeprefix("layer."): value for key, value in parts.items()}
    model = torch.nn.ModuleDict({"layer": torch.nn.Linear(SHAPE[1], SHAPE[0])})  # of float32
    widened = Fp8Dequantize(quantizer).convert(found, full_layer_name="layer.weight", model=model)
    save(name, {"quant_method": "fp8", **settings}, parts, widened["layer.weight"])


def main() -> None:
    OUT.mkdir(exist_ok=True)
    group = {"strategy": "group", "group_size": 32}
    for bits in (2, 3, 4, 8):
        compressed(f"ct-pack-{bits}", "pack-quantized", num_bits=bits, **group)
    for strategy in ("channel", "tensor"):
        compressed(f"ct-pack-4-{strategy}", "pack-quantized", num_bits=4, strategy=strategy)
    asymmetric = {"num_bits": 4, "symmetric": False}
    compressed("ct-pack-4-asymmetric", "pack-quantized", **asymmetric, **group)
    compressed("ct-pack-4-asymmetric-channel", "pack-quantized", **asymmetric, strategy="channel")
    for strategy in ("channel", "tensor"):
        compressed(f"ct-int-{strategy}", "int-quantized", num_bits=8, strategy=strategy)
        float8 = {"num_bits": 8, "type": "float", "strategy": strategy}
        compressed(f"ct-float-{strategy}", "float-quantized", **float8)
    naive = {"num_bits": 8, "symmetric": False, "strategy": "channel"}
    compressed("ct-naive-asymmetric", "naive-quantized", **naive)
    block = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [8, 32]}
    compressed("ct-float-block", "float-quantized", **block)
    fp4 = {"num_bits": 4, "type": "float"}
    half = {"scale_dtype": torch.uint8, "zp_dtype": torch.uint8}
    nvfp4 = {"strategy": "tensor_group", "group_size": 16, "scale_dtype": torch.float8_e4m3fn}
    compressed("ct-nvfp4", "nvfp4-pack-quantized", **fp4, **nvfp4)
    compressed("ct-mxfp4", "mxfp4-pack-quantized", **fp4, **group, **half)
    compressed("ct-mxfp8", "mxfp8-quantized", num_bits=8, type="float", **group, **half)

    for nbits in (8, 4, 3, 2, 1):
        for axis in (0, 1):
            hqq(f"hqq-{nbits}-axis-{axis}", nbits, 32, axis)
    hqq("hqq-4-no-groups", 4, None, 1)
    hqq("hqq-4-viewed", 4, 32, 1, view_as_float=True)

    from torchao.quantization import (
        Float8WeightOnlyConfig,
        Int8WeightOnlyConfig,
        IntxWeightOnlyConfig,
        PerGroup,
    )

    torchao_quantized("torchao-int8", Int8WeightOnlyConfig())
    torchao_quantized("torchao-float8", Float8WeightOnlyConfig())
    per_group = {"weight_dtype": torch.int4, "granularity": PerGroup(32)}
    torchao_quantized("torchao-intx-4", IntxWeightOnlyConfig(**per_group))
    llm_int8()
    gpt_oss()
    for bits in (2, 3, 4, 8):
        gptq(bits)
    awq()
    fp8("fp8-block", None)
    fp8("fp8-block-e8m0", "ue8m0")


if __name__ == "__main__":
    main()
