"""The way back of hparams: a config.json from the metadata of a GGUF file.

An hparam that is read from a config key goes back to that key;
`ggufkit.architectures.inverse_hparams` says where those go that a function computes. Those with no
line there follow from others, or are the same for all models of an architecture. Whether the config
is right is proven forwards, see `ggufkit.export.proof`.
"""

from __future__ import annotations

from typing import Any

from ggufkit.architectures.inverse_hparams import BY_FUNCTION, BY_MAKER
from ggufkit.mapping.config_inverse import ConfigInverse, ModelHeader, set_path, shortest_decimal
from ggufkit.mapping.spec import UNPREFIXED, Architecture, Hparam

# Of the names that an hparam may have in a config, transformers' own.
USUAL = frozenset(
    (
        *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
        *("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "layer_norm_eps"),
        *("num_experts_per_tok", "layer_norm_epsilon", "seq_length"),
    )
)


def invert_hparams(architecture: Architecture, known: ModelHeader) -> dict[str, Any]:
    """Return the config that the hparams were written from, as far as they tell.

    Parameters
    ----------
    architecture : Architecture
        Whose they are.
    known : ModelHeader
        The file; its `config` is filled.
    """
    # where a key is written twice, the later value stands
    by_key = {
        hparam.key: hparam
        for hparam in (*architecture.leading_hparams, *architecture.hparams)
        if isinstance(hparam, Hparam)
    }
    hparams = by_key.values()
    backs = [(hparam, _back(architecture, hparam)) for hparam in hparams]
    # functions may need what is said plainly
    for hparam, back in sorted(backs, key=lambda pair: callable(pair[1])):
        value = known.hparams.get(hparam.key)
        if back is None or value is None or hparam.key.startswith(UNPREFIXED):
            continue
        if isinstance(hparam.source, tuple) and any(n in known.config for n in hparam.source):
            continue
        if isinstance(back, str):
            set_path(known.config, back, shortest_decimal(value))
        else:
            for path, found in back(value, known).items():
                set_path(known.config, path, found)
    return known.config


def _back(architecture: Architecture, hparam: Hparam) -> ConfigInverse | None:
    source = hparam.source
    if callable(source):
        if source in BY_FUNCTION:
            return BY_FUNCTION[source]
        return BY_MAKER.get((source.__qualname__.partition(".")[0], hparam.key))
    names = (source,) if isinstance(source, str) else source
    return next(
        (name for known in (architecture.defaults, USUAL) for name in names if name in known),
        names[0],
    )
