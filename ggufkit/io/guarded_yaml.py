"""YAML of any origin: with limits on its size, and one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

MAX_YAML_BYTES = 1 << 20  # the largest cards, with thousands of results, have a third of it
MAX_MERGED = 100_000  # pairs that "<<" copies: lists of lists of them grow exponentially


class _Loader(yaml.SafeLoader):
    n_merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.n_merged += len(node.value)
        if self.n_merged > MAX_MERGED:
            raise yaml.YAMLError(f"more than {MAX_MERGED} keys are merged")


def parse_yaml(text: str) -> Any:
    """Return what a YAML document says.

    Raises
    ------
    ValueError
        It is longer than `MAX_YAML_BYTES`, not valid YAML, nested too deep, or merges keys without
        end.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"more than {MAX_YAML_BYTES} bytes of YAML")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # its constructors raise whatever int(), date() and [] raise
        raise ValueError(f"not valid YAML: {error}") from error
