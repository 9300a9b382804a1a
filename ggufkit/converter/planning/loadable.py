"""Whether llama.cpp will load what a plan writes, by the rules of `ggufkit check`."""

from __future__ import annotations

from ggufkit.converter.sources.base import Source
from ggufkit.errors import UnloadableModelError
from ggufkit.gguf.layout import TensorInfo
from ggufkit.rules.engine import errors
from ggufkit.rules.model import DescribedModel
from ggufkit.types import TensorType

_SHOWN = 3  # messages of an error
# A GGUF source may be weights alone, or have tensors for another program: that is only said.
_SAID = ("missing-tokenizer", "surplus-tensors")


def checked(source: Source) -> Source:
    """Return a source that llama.cpp can load the files of; its notes say what is odd all the same.

    Parameters
    ----------
    source : Source
        A checkpoint, whose config, tokenizer and weights may contradict each other; or a GGUF
        file.

    Raises
    ------
    UnloadableModelError
        llama.cpp would refuse the files.
    """
    # types are chosen later, and are always known
    infos = {t.name: TensorInfo(t.name, t.shape, TensorType.F32) for t in source.tensors}
    model = DescribedModel(source.base_metadata, infos)
    model.config_keys = source.config_keys
    found = [
        (rule, finding)
        for rule, finding in errors(model)
        # what reads a checkpoint writes a whole tokenizer, or refuses
        if source.is_gguf or rule.id not in ("missing-tokenizer", "missing-merges")
    ]
    refused = [
        finding.message
        for rule, finding in found
        if rule.refused and not (source.is_gguf and rule.id in _SAID)
    ]
    if refused:
        more = f"\nand {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        listed = "\n".join(refused[:_SHOWN])
        raise UnloadableModelError(f"{source.origin.get('name', 'the model')}: {listed}{more}")
    return source.with_notes([finding.message for _, finding in found])
