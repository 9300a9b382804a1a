"""What llama.cpp requires: facts that the rules share.

Source: src/llama-arch.cpp, src/llama-model.cpp, ``load_arch_hparams`` of src/models/*.cpp and
src/llama-vocab.cpp of llama.cpp, autumn 2026. Only keys required regardless of the
model's size and options are listed.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARCHITECTURES = """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet
    bloom chameleon chatglm clip codeshell cogvlm cohere2 cohere2moe command-r dbrx deci
    deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dflash dots1 dots3note dream eagle3
    ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma
    gemma-embedding gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe glm5-next
    gpt-oss gpt2 gptj gptneox granite granite_swa granitehybrid granitemoe graniteswitch grok
    grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2
    jamba jina-bert-v2 jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe
    llama llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3
    minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige
    nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe
    openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm pockettts
    qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3
    spark2_5 stablelm starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
"""
#: The values of ``general.architecture`` that llama.cpp loads.
ARCHITECTURES = _words(_ARCHITECTURES)

#: ``LLAMA_MAX_LAYERS`` and ``LLAMA_MAX_EXPERTS``.
MAX_BLOCKS = 512
MAX_EXPERTS = 1024

#: Keys, behind the architecture's name, that every model with tensors needs.
REQUIRED_ALWAYS = ("context_length", "embedding_length", "block_count")

# Key behind the architecture's name -> architectures that need it too.
_REQUIRED = {
    "activation.situ_beta": "kimi-k3",
    "activation.situ_linear_beta": "kimi-k3",
    "adapters.count": "graniteswitch",
    "adapters.lora_rank": "graniteswitch",
    "adapters.router_gain": "graniteswitch",
    "adapters.token_ids_activate": "graniteswitch",
    "adapters.token_ids_substitute": "graniteswitch",
    "attention.clamp_kqv": "dbrx",
    "attention.compress_ratios": "deepseek4",
    "attention.compress_rope_freq_base": "deepseek4",
    "attention.decay_lora_rank": "arwkv7 rwkv7",
    "attention.group_norm_epsilon": "wavtokenizer-dec",
    "attention.group_norm_groups": "wavtokenizer-dec",
    "attention.iclr_lora_rank": "arwkv7 rwkv7",
    "attention.indexer.block_size": "minimax-m3",
    "attention.indexer.head_count": """
        deepseek32 deepseek4 dots3note glm-dsa glm5-next minimax-m3 qwen4exp
    """,
    "attention.indexer.key_length": """
        deepseek32 deepseek4 dots3note glm-dsa glm5-next minimax-m3 qwen4exp
    """,
    "attention.indexer.kpool": "glm5-next",
    "attention.indexer.local_blocks": "minimax-m3",
    "attention.indexer.top_k": """
        deepseek32 deepseek4 dots3note glm-dsa glm5-next minimax-m3 qwen4exp
    """,
    "attention.indexer.types": "dots3note",
    "attention.key_length_mla": "bailingmoe3 dots3note glm5-next hy_v4 kimi-k3 kimi-linear",
    "attention.key_length_mla_swa": "dots3note",
    "attention.key_length_swa": "gemma4 gemma4-assistant",
    "attention.kv_lora_rank": """
        bailingmoe3 deepseek2 deepseek32 dots3note glm-dsa glm5-next hy_v4 kimi-k3 kimi-linear
        minicpm3 mistral4 plm
    """,
    "attention.kv_lora_rank_swa": "dots3note",
    "attention.layer_norm_epsilon": """
        bert bloom codeshell cohere2 command-r dbrx falcon gpt2 gptneox jais jais2 jina-bert-v2
        jina-bert-v3 modern-bert mpt nemotron nemotron_h nemotron_h_moe nomic-bert
        nomic-bert-moe olmo orion phi2 pockettts stablelm starcoder starcoder2 wavtokenizer-dec
    """,
    "attention.layer_norm_rms_epsilon": """
        afmoe apertus arcee arctic baichuan bailingmoe bailingmoe2 bailingmoe3 bitnet chameleon
        chatglm cogvlm deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dflash dots1
        dots3note dream eagle3 ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4
        falcon-h1 gemma gemma-embedding gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa
        glm4 glm4moe glm5-next gpt-oss granite granite_swa granitehybrid granitemoe
        graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4
        internlm2 jamba kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe llama
        llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3 minimax-01
        minimax-m2 minimax-m3 mistral3 mistral4 muse-glimmer nanbeige neo-bert olmo2 olmoe
        openelm paddleocr pangu-embedded phi3 phimoe plamo plamo2 plamo3 plm qwen qwen2 qwen2moe
        qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl qwen3vlmoe qwen4exp refact
        rnd1 seed_oss smallthinker smollm3 spark2_5 step35 t5 t5encoder talkie xverse
    """,
    "attention.output_group_count": "deepseek4",
    "attention.output_lora_rank": "deepseek4",
    "attention.q_lora_rank": "deepseek32 deepseek4 dots3note glm-dsa glm5-next hy_v4 minicpm3",
    "attention.relative_buckets_count": "t5 t5encoder",
    "attention.scale": "granitehybrid",
    "attention.sliding_window": """
        cohere2 cohere2moe deepseek4 dots3note exaone-moe gemma-embedding gemma3n gemma4
        gemma4-assistant gpt-oss granite_swa maple mimo2 muse-glimmer spark2_5 step35
    """,
    "attention.sliding_window_pattern": """
        dots3note gemma4 gemma4-assistant granite_swa maple mimo2 spark2_5 step35
    """,
    "attention.value_length_mla": "bailingmoe3 dots3note glm5-next hy_v4 kimi-k3 kimi-linear",
    "attention.value_length_mla_swa": "dots3note",
    "attention.value_length_swa": "gemma4 gemma4-assistant",
    "attention.value_residual_mix_lora_rank": "arwkv7 rwkv7",
    "attn_res.block_size": "kimi-k3",
    "embedding_length_per_layer_input": "gemma4",
    "embedding_scale": "granitehybrid minicpm",
    "expert_feed_forward_length": """
        afmoe bailingmoe bailingmoe2 bailingmoe3 cohere2moe deepseek deepseek2 deepseek2-ocr
        deepseek32 deepseek4 dots1 dots3note exaone-moe glm-dsa glm4moe glm5-next gpt-oss
        grovemoe hunyuan-moe hy_v3 hy_v4 kimi-k3 kimi-linear laguna lfm2moe llama4 maple mellum
        mimo2 minimax-m2 minimax-m3 mistral4 step35
    """,
    "expert_gating_func": """
        bailingmoe2 bailingmoe3 deepseek32 deepseek4 dots3note exaone-moe kimi-k3 kimi-linear
        lfm2moe minimax-m3
    """,
    "expert_group_scale": "grovemoe",
    "expert_shared_count": """
        afmoe bailingmoe bailingmoe2 bailingmoe3 deepseek deepseek2 deepseek2-ocr deepseek32
        deepseek4 dots1 dots3note glm-dsa glm4moe glm5-next hy_v4 kimi-k3 kimi-linear minimax-m3
        mistral4
    """,
    "expert_shared_feed_forward_length": """
        granite granite_swa granitehybrid granitemoe graniteswitch
    """,
    "expert_weights_norm": "deepseek4",
    "expert_weights_scale": "deepseek4",
    "experts_per_group": "grovemoe",
    "hash_layer_count": "deepseek4",
    "hrm.h_cycles": "hrm_text",
    "hrm.l_cycles": "hrm_text",
    "hrm.layers_per_stack": "hrm_text",
    "hyper_connection.count": "deepseek4 glm5-next hy_v4 qwen4exp",
    "hyper_connection.epsilon": "deepseek4 glm5-next hy_v4",
    "hyper_connection.low_rank": "qwen4exp",
    "hyper_connection.magnitude": "hy_v4",
    "hyper_connection.sinkhorn_iterations": "deepseek4 glm5-next",
    "interleave_moe_layer_step": "llama4",
    "kda.gate_lower_bound": "bailingmoe3",
    "kda.head_dim": "bailingmoe3 glm5-next kimi-k3 kimi-linear",
    "leading_dense_block_count": "bailingmoe3 cohere2moe dots3note laguna",
    "logit_scale": """
        cohere2 cohere2moe granite granite_swa granitehybrid granitemoe graniteswitch minicpm
        muse-glimmer talkie
    """,
    "residual_scale": "granitehybrid minicpm minimax-01",
    "rope.dimension_sections": "qwen2vl qwen35 qwen35moe qwen3tts qwen3vl qwen3vlmoe qwen4exp",
    "rope.freq_base_swa": "dots3note",
    "shortconv.l_cache": "lfm2 lfm2moe",
    "ssm.conv_kernel": """
        bailingmoe3 falcon-h1 glm5-next granitehybrid jamba kimi-k3 kimi-linear mamba mamba2
        nemotron_h nemotron_h_moe plamo2 qwen35 qwen35moe qwen3next qwen4exp
    """,
    "ssm.group_count": """
        falcon-h1 granitehybrid mamba2 nemotron_h nemotron_h_moe plamo2 qwen35 qwen35moe
        qwen3next qwen4exp
    """,
    "ssm.inner_size": """
        falcon-h1 granitehybrid jamba mamba mamba2 nemotron_h nemotron_h_moe plamo2 qwen35
        qwen35moe qwen3next qwen4exp
    """,
    "ssm.state_size": """
        falcon-h1 granitehybrid jamba mamba mamba2 nemotron_h nemotron_h_moe plamo2 qwen35
        qwen35moe qwen3next qwen4exp
    """,
    "ssm.time_step_rank": """
        falcon-h1 granitehybrid jamba mamba mamba2 nemotron_h nemotron_h_moe plamo2 qwen35
        qwen35moe qwen3next qwen4exp
    """,
    "swiglu_clamp_exp": "deepseek4 maple",
    "target_hidden_size": "eagle3",
    "time_decay_extra_dim": "rwkv6 rwkv6qwen2",
    "time_mix_extra_dim": "rwkv6 rwkv6qwen2",
    "use_parallel_residual": "gptneox",
    "wkv.head_size": "arwkv7 rwkv6 rwkv6qwen2 rwkv7",
    "xielu.alpha_n": "apertus",
    "xielu.alpha_p": "apertus",
    "xielu.beta": "apertus",
    "xielu.eps": "apertus",
}
REQUIRED = {key: _words(names) for key, names in _REQUIRED.items()}

#: Architectures whose attention and feed-forward blocks all look alike and have the plain tensors
#: attn_q, attn_k, ffn_up: what is derived from their hparams can be compared with the shapes.
PLAIN = _words(
    "llama qwen2 qwen3 gemma gemma2 gemma3 olmo2 starcoder2 stablelm command-r granite seed_oss"
)
#: Architectures that fall back to the token embeddings if ``output.weight`` is absent.
TIES_OUTPUT = _words(
    "llama qwen2 qwen3 olmo2 starcoder2 granite smollm3 exaone4 seed_oss phi3 stablelm"
)
#: Architectures with one vector of rope factors for all blocks, for heads of one length.
ONE_ROPE = PLAIN | {"phi3", "phimoe", "smollm3", "exaone4", "mistral3"}
#: Architectures whose embeddings are not as long, or as many, as their keys say: they draft for
#: another model, or speak.
ODD_EMBEDDINGS = _words("dflash eagle3 gemma4-assistant pockettts qwen3tts wavtokenizer-dec")
#: Architectures that refuse rope dimensions other than the head's.
WHOLE_HEAD_ROPE = _words("llama deci falcon llama-embed")
#: Architectures that generate no text: no end of turn is expected of them.
ENCODERS = _words("""
    bert clip eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert
    nomic-bert nomic-bert-moe pockettts t5encoder wavtokenizer-dec
    """)

#: Values of ``{arch}.rope.scaling.type``.
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")

#: Values of ``tokenizer.ggml.model`` -> how it works.
TOKENIZERS = {
    "llama": "SPM",
    "gpt2": "BPE",
    "gemma4": "BPE",
    "hybriddna": "BPE",
    "whitespace": "BPE",
    "bert": "WPM",
    "t5": "UGM",
    "rwkv": "RWKV",
    "plamo2": "PLAMO2",
    "none": "none",
    "no_vocab": "none",
}
#: Kinds of tokenizers that put BOS first unless ``add_bos_token`` says otherwise.
ADDS_BOS = ("SPM", "WPM")
#: Pre-tokenizers that do so too.
PRE_ADDS_BOS = _words(
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken"
)

#: Texts of tokens at which llama.cpp stops, whatever the metadata says.
END_OF_GENERATION = _words("""
    <|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn>
    <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance>
    <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[
    """)

#: Ollama refuses longer strings, and arrays of more items.
OLLAMA_MAX_STRING = 16 << 20
OLLAMA_MAX_ITEMS = 64 << 20
