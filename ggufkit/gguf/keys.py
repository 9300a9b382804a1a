"""The standard metadata keys and the value type of each: one row per key.

A row holds the type of the value, or of the items if the value is an array; a few keys, which hold
one number or one per layer, have both. ``{arch}`` stands for the architecture, ``{id}`` for a
number from 0, other braces for a name.

The types are those that gguf-py's ``GGUFWriter`` and llama.cpp use; keys of multimodal
projectors (``clip.*``) are left out.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ggufkit.types import ValueType


class KeyType(NamedTuple):
    """Types of a key's value: one of type `scalar`, an array of `items`, or either."""

    scalar: ValueType | None = None
    items: ValueType | None = None


TEXT = KeyType(ValueType.STRING)
BOOL = KeyType(ValueType.BOOL)
U16 = KeyType(ValueType.UINT16)
U32 = KeyType(ValueType.UINT32)
I32 = KeyType(ValueType.INT32)
F32 = KeyType(ValueType.FLOAT32)
TEXTS = KeyType(items=ValueType.STRING)
BOOLS = KeyType(items=ValueType.BOOL)
U8S = KeyType(items=ValueType.UINT8)
U32S = KeyType(items=ValueType.UINT32)
I32S = KeyType(items=ValueType.INT32)
U64S = KeyType(items=ValueType.UINT64)
F32S = KeyType(items=ValueType.FLOAT32)
U32_OR_I32S = KeyType(ValueType.UINT32, ValueType.INT32)
U32_OR_BOOLS = KeyType(ValueType.UINT32, ValueType.BOOL)

KEYS: dict[str, KeyType] = {
    "general.type": TEXT,
    "general.architecture": TEXT,
    "general.quantization_version": U32,
    "general.alignment": U32,
    "general.file_type": U32,
    "general.tensor_extra.name": TEXTS,
    "general.tensor_extra.prec_a4": BOOLS,
    "general.sampling.sequence": TEXT,
    "general.sampling.top_k": I32,
    "general.sampling.top_p": F32,
    "general.sampling.min_p": F32,
    "general.sampling.xtc_probability": F32,
    "general.sampling.xtc_threshold": F32,
    "general.sampling.temp": F32,
    "general.sampling.penalty_last_n": I32,
    "general.sampling.penalty_repeat": F32,
    "general.sampling.mirostat": I32,
    "general.sampling.mirostat_tau": F32,
    "general.sampling.mirostat_eta": F32,
    "general.name": TEXT,
    "general.author": TEXT,
    "general.version": TEXT,
    "general.organization": TEXT,
    "general.finetune": TEXT,
    "general.basename": TEXT,
    "general.description": TEXT,
    "general.quantized_by": TEXT,
    "general.size_label": TEXT,
    "general.license": TEXT,
    "general.license.name": TEXT,
    "general.license.link": TEXT,
    "general.url": TEXT,
    "general.doi": TEXT,
    "general.uuid": TEXT,
    "general.repo_url": TEXT,
    "general.source.url": TEXT,
    "general.source.doi": TEXT,
    "general.source.uuid": TEXT,
    "general.source.repo_url": TEXT,
    "general.base_model.count": U32,
    "general.base_model.{id}.name": TEXT,
    "general.base_model.{id}.author": TEXT,
    "general.base_model.{id}.version": TEXT,
    "general.base_model.{id}.organization": TEXT,
    "general.base_model.{id}.description": TEXT,
    "general.base_model.{id}.url": TEXT,
    "general.base_model.{id}.doi": TEXT,
    "general.base_model.{id}.uuid": TEXT,
    "general.base_model.{id}.repo_url": TEXT,
    "general.dataset.count": U32,
    "general.dataset.{id}.name": TEXT,
    "general.dataset.{id}.author": TEXT,
    "general.dataset.{id}.version": TEXT,
    "general.dataset.{id}.organization": TEXT,
    "general.dataset.{id}.description": TEXT,
    "general.dataset.{id}.url": TEXT,
    "general.dataset.{id}.doi": TEXT,
    "general.dataset.{id}.uuid": TEXT,
    "general.dataset.{id}.repo_url": TEXT,
    "general.tags": TEXTS,
    "general.languages": TEXTS,
    "{arch}.tensor_data_layout": TEXT,
    "{arch}.vocab_size": U32,
    "{arch}.context_length": U32,
    "{arch}.embedding_length": U32,
    "{arch}.embedding_length_out": U32,
    "{arch}.features_length": U32,
    "{arch}.posnet.embedding_length": U32,
    "{arch}.posnet.block_count": U32,
    "{arch}.convnext.embedding_length": U32,
    "{arch}.convnext.block_count": U32,
    "{arch}.shortconv.l_cache": U32,
    "{arch}.block_count": U32,
    "{arch}.leading_dense_block_count": U32,
    "{arch}.full_attention_interval": U32,
    "{arch}.hash_layer_count": U32,
    "{arch}.feed_forward_length": U32_OR_I32S,
    "{arch}.expert_feed_forward_length": U32_OR_I32S,
    "{arch}.expert_shared_feed_forward_length": U32,
    "{arch}.expert_chunk_feed_forward_length": U32,
    "{arch}.use_parallel_residual": BOOL,
    "{arch}.decoder_start_token_id": U32,
    "{arch}.decoder_block_count": U32,
    "{arch}.embedding_length_per_layer_input": U32,
    "{arch}.altup.active_idx": U32,
    "{arch}.altup.num_inputs": U32,
    "{arch}.activation_sparsity_scale": F32S,
    "{arch}.attention.head_count": U32_OR_I32S,
    "{arch}.attention.head_count_kv": U32_OR_I32S,
    "{arch}.attention.key_length": U32,
    "{arch}.attention.value_length": U32,
    "{arch}.attention.key_length_mla": U32,
    "{arch}.attention.value_length_mla": U32,
    "{arch}.attention.key_length_swa": U32,
    "{arch}.attention.key_length_mla_swa": U32,
    "{arch}.attention.value_length_mla_swa": U32,
    "{arch}.attention.kv_lora_rank_swa": U32,
    "{arch}.attention.value_length_swa": U32,
    "{arch}.attention.indexer.head_count": U32,
    "{arch}.attention.indexer.key_length": U32,
    "{arch}.attention.indexer.top_k": U32,
    "{arch}.attention.indexer.block_size": U32,
    "{arch}.attention.indexer.local_blocks": U32,
    "{arch}.attention.indexer.kpool": U32,
    "{arch}.attention.indexer.kpool_select_tail": BOOL,
    "{arch}.attention.max_alibi_bias": F32,
    "{arch}.attention.clamp_kqv": F32,
    "{arch}.attention.shared_kv_layers": U32,
    "{arch}.attention.recurrent_layers": BOOLS,
    "{arch}.attention.rope_pattern": BOOLS,
    "{arch}.{dense}_feat_in": U32,
    "{arch}.{dense}_feat_out": U32,
    "{arch}.logit_scale": F32,
    "{arch}.attn_logit_softcapping": F32,
    "{arch}.router_logit_softcapping": F32,
    "{arch}.final_logit_softcapping": F32,
    "{arch}.expert_count": U32,
    "{arch}.expert_used_count": U32_OR_I32S,
    "{arch}.expert_shared_count": U32,
    "{arch}.expert_group_count": U32,
    "{arch}.expert_group_used_count": U32,
    "{arch}.expert_weights_scale": F32,
    "{arch}.expert_weights_norm": BOOL,
    "{arch}.expert_gating_func": U32,
    "{arch}.swiglu_clamp_exp": F32S,
    "{arch}.swiglu_clamp_shexp": F32S,
    "{arch}.hidden_activation": TEXT,
    "{arch}.expert_group_scale": F32,
    "{arch}.experts_per_group": U32,
    "{arch}.moe_every_n_layers": U32,
    "{arch}.moe_latent_size": U32,
    "{arch}.nextn_predict_layers": U32,
    "{arch}.swin_norm": BOOL,
    "{arch}.rescale_every_n_layers": U32,
    "{arch}.time_mix_extra_dim": U32,
    "{arch}.time_decay_extra_dim": U32,
    "{arch}.residual_scale": F32,
    "{arch}.embedding_scale": F32,
    "{arch}.hrm.layers_per_stack": U32,
    "{arch}.hrm.h_cycles": U32,
    "{arch}.hrm.l_cycles": U32,
    "{arch}.hrm.prefix_lm": BOOL,
    "{arch}.adapters.count": U32,
    "{arch}.adapters.token_ids_activate": I32S,
    "{arch}.adapters.token_ids_substitute": I32S,
    "{arch}.adapters.lora_rank": U32,
    "{arch}.adapters.router_gain": F32,
    "{arch}.wkv.head_size": U32,
    "{arch}.token_shift_count": U32,
    "{arch}.num_loops": U32,
    "{arch}.skip_loop_final_norm": BOOL,
    "{arch}.interleave_moe_layer_step": U32,
    "{arch}.attention.layer_norm_epsilon": F32,
    "{arch}.attention.layer_norm_rms_epsilon": F32,
    "{arch}.attention.group_norm_epsilon": F32,
    "{arch}.attention.group_norm_groups": U32,
    "{arch}.attention.causal": BOOL,
    "{arch}.attention.q_lora_rank": U32,
    "{arch}.attention.kv_lora_rank": U32,
    "{arch}.attention.decay_lora_rank": U32,
    "{arch}.attention.iclr_lora_rank": U32,
    "{arch}.attention.value_residual_mix_lora_rank": U32,
    "{arch}.rope.freq_base_swa": F32,
    "{arch}.attention.gate_lora_rank": U32,
    "{arch}.attention.relative_buckets_count": U32,
    "{arch}.attention.sliding_window": U32,
    "{arch}.block_size": U32,
    "{arch}.conv_kernel_size": U32,
    "{arch}.conv_group_size": U32,
    "{arch}.selector_rank": U32,
    "{arch}.selector_top_k": U32,
    "{arch}.sample_from_anchor": BOOL,
    "{arch}.has_confidence_head": BOOL,
    "{arch}.target_layers": I32S,
    "{arch}.target_hidden_size": U32,
    "{arch}.norm_before_residual": BOOL,
    "{arch}.norm_before_fc": BOOL,
    "{arch}.attention.output_group_count": U32,
    "{arch}.attention.output_lora_rank": U32,
    "{arch}.attention.compress_ratios": I32S,
    "{arch}.attention.compress_rope_freq_base": F32,
    "{arch}.hyper_connection.count": U32,
    "{arch}.hyper_connection.sinkhorn_iterations": U32,
    "{arch}.hyper_connection.epsilon": F32,
    "{arch}.hyper_connection.magnitude": F32,
    "{arch}.hyper_connection.low_rank": U32,
    "{arch}.ple.layers": I32S,
    "{arch}.ple.ngram_size": U32,
    "{arch}.ple.heads_per_ngram": U32,
    "{arch}.ple.conv_kernel": U32,
    "{arch}.ple.eos_token_id": U32,
    "{arch}.ple.image_token_id": U32,
    "{arch}.attention.scale": F32,
    "{arch}.attention.output_scale": F32,
    "{arch}.attention.value_scale": F32,
    "{arch}.attention.temperature_length": U32,
    "{arch}.attention.temperature_scale": F32,
    "{arch}.pooling_type": U32,
    "{arch}.n_deepstack_layers": U32,
    "{arch}.deepstack_mapping": I32S,
    "{arch}.rope.dimension_count": U32,
    "{arch}.rope.dimension_count_swa": U32,
    "{arch}.rope.dimension_sections": I32S,
    "{arch}.rope.freq_base": F32,
    "{arch}.rope.scaling.type": TEXT,
    "{arch}.rope.scaling.factor": F32,
    "{arch}.rope.scaling.alpha": F32,
    "{arch}.rope.scaling.attn_factor": F32,
    "{arch}.rope.scaling.original_context_length": U32,
    "{arch}.rope.scaling.finetuned": BOOL,
    "{arch}.rope.scaling.yarn_log_multiplier": F32,
    "{arch}.rope.scaling.yarn_ext_factor": F32,
    "{arch}.rope.scaling.yarn_attn_factor": F32,
    "{arch}.rope.scaling.yarn_beta_fast": F32,
    "{arch}.rope.scaling.yarn_beta_slow": F32,
    "{arch}.ssm.conv_kernel": U32,
    "{arch}.ssm.inner_size": U32,
    "{arch}.ssm.state_size": U32,
    "{arch}.ssm.time_step_rank": U32,
    "{arch}.ssm.group_count": U32,
    "{arch}.ssm.dt_b_c_rms": BOOL,
    "{arch}.expert_latent_length": U32,
    "{arch}.activation.situ_beta": F32,
    "{arch}.activation.situ_linear_beta": F32,
    "{arch}.attn_res.block_size": U32,
    "{arch}.kda.head_dim": U32,
    "{arch}.kda.safe_gate": BOOL,
    "{arch}.kda.gate_lower_bound": F32,
    "{arch}.classifier.output_labels": TEXTS,
    "{arch}.classifier.pooling_type": U32,
    "{arch}.attention.sliding_window_pattern": U32_OR_BOOLS,
    "{arch}.attention.indexer.types": BOOLS,
    "{arch}.ple.layer_multipliers": U64S,
    "{arch}.ple.head_offsets": U64S,
    "{arch}.ple.head_vocab_sizes": U64S,
    "tokenizer.ggml.model": TEXT,
    "tokenizer.ggml.pre": TEXT,
    "tokenizer.ggml.tokens": TEXTS,
    "tokenizer.ggml.merges": TEXTS,
    "tokenizer.ggml.token_type": I32S,
    "tokenizer.ggml.token_type_count": U32,
    "tokenizer.ggml.scores": F32S,
    "tokenizer.ggml.bos_token_id": U32,
    "tokenizer.ggml.eos_token_id": U32,
    "tokenizer.ggml.unknown_token_id": U32,
    "tokenizer.ggml.seperator_token_id": U32,
    "tokenizer.ggml.padding_token_id": U32,
    "tokenizer.ggml.mask_token_id": U32,
    "tokenizer.ggml.add_bos_token": BOOL,
    "tokenizer.ggml.add_eos_token": BOOL,
    "tokenizer.ggml.add_sep_token": BOOL,
    "tokenizer.ggml.add_space_prefix": BOOL,
    "tokenizer.ggml.remove_extra_whitespaces": BOOL,
    "tokenizer.ggml.precompiled_charsmap": U8S,
    "tokenizer.chat_template": TEXT,
    "tokenizer.chat_templates": TEXTS,
    "tokenizer.chat_template.{name}": TEXT,
    "tokenizer.ggml.suppress_tokens": I32S,
    "tokenizer.ggml.normalizer.lowercase": BOOL,
    "tokenizer.ggml.normalizer.strip_accents": BOOL,
    "tokenizer.ggml.eot_token_id": U32,
    "tokenizer.ggml.eom_token_id": U32,
    "tokenizer.huggingface.json": TEXT,
    "tokenizer.rwkv.world": TEXT,
    "tokenizer.ggml.fim_pre_token_id": U32,
    "tokenizer.ggml.fim_suf_token_id": U32,
    "tokenizer.ggml.fim_mid_token_id": U32,
    "tokenizer.ggml.fim_pad_token_id": U32,
    "tokenizer.ggml.fim_rep_token_id": U32,
    "tokenizer.ggml.fim_sep_token_id": U32,
    "tokenizer.ggml.prefix_token_id": U32,
    "tokenizer.ggml.suffix_token_id": U32,
    "tokenizer.ggml.middle_token_id": U32,
    "split.no": U16,
    "split.count": U16,
    "split.tensors.count": I32,
    "quantize.imatrix.file": TEXT,
    "quantize.imatrix.dataset": TEXT,
    "quantize.imatrix.entries_count": U32,
    "quantize.imatrix.chunks_count": U32,
    "imatrix.chunk_count": U32,
    "imatrix.chunk_size": U32,
    "imatrix.datasets": TEXTS,
    "adapter.type": TEXT,
    "adapter.lora.alpha": F32,
    "adapter.lora.task_name": TEXT,
    "adapter.lora.prompt_prefix": TEXT,
    "adapter.alora.invocation_tokens": U32S,
    "xielu.alpha_p": F32S,
    "xielu.alpha_n": F32S,
    "xielu.beta": F32S,
    "xielu.eps": F32S,
    "diffusion.shift_logits": BOOL,
    "ggufkit.generic": BOOL,  # our own: see ggufkit/architectures/from_gguf_py.py
}


def key_type(key: str) -> KeyType | None:
    """Return the types of a standard key, or None for any other key.

    Examples
    --------
    >>> key_type("llama.block_count").scalar.name
    'UINT32'
    """
    if key in KEYS:
        return KEYS[key]
    _, _, rest = key.partition(".")
    if "{arch}." + rest in KEYS:
        return KEYS["{arch}." + rest]
    for pattern, found in _templates():
        if pattern.fullmatch(key):
            return found
    return None


@cache
def _templates() -> list[tuple[re.Pattern[str], KeyType]]:
    """Return the keys with other placeholders than ``{arch}`` alone, as patterns."""
    templates = []
    for key, found in KEYS.items():
        if "{" in key.removeprefix("{arch}"):
            pattern = re.escape(key).replace(r"\{id\}", "[0-9]+")
            pattern = re.sub(r"\\{\w+\\}", "[^.]+", pattern)
            templates.append((re.compile(pattern), found))
    return templates
