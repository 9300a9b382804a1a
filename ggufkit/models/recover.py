"""The way back of hparams: a config.json from the metadata of a GGUF file.

An hparam that is read from a config key goes back to that key; `ggufkit.models.ways` says where
those go that a function computes. Those with no line there follow from others, or are the same for
all models of an architecture. Whether the config is right is proven forwards, see
`ggufkit.converter.export.proof`.
"""

from __future__ import annotations

from typing import Any

from ggufkit.models.base import UNPREFIXED, Architecture, Hparam
from ggufkit.models.known import Back, Known, put, short
from ggufkit.models.ways import BY_FUNCTION, BY_MAKER

# Of the names that an hparam may have in a config, transformers' own.
USUAL = frozenset(
    (
        *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
        *("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "layer_norm_eps"),
        *("num_experts_per_tok", "layer_norm_epsilon", "seq_length"),
    )
)


def recover(architecture: Architecture, known: Known) -> dict[str, Any]:
    """Return the config that the hparams were written from, as far as they tell.

    Parameters
    ----------
    architecture : Architecture
        Whose they are.
    known : Known
        The file; its `config` is filled.
    """
    # where a key is written twice, the later value stands
    by_key = {
        hparam.key: hparam
        for hparam in (*architecture.first, *architecture.hparams)
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
            put(known.config, back, short(value))
        else:
            for path, found in back(value, known).items():
                put(known.config, path, found)
    return known.config


def _back(architecture: Architecture, hparam: Hparam) -> Back | None:
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
