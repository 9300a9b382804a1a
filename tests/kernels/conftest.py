"""Run a test once per instruction level that was compiled and that this machine has."""

from __future__ import annotations

import pytest

from ggufkit import kernels

NOT_COMPILED = pytest.param("none", marks=pytest.mark.skip(reason="no compiled kernels here"))


@pytest.fixture(params=kernels.available() or [NOT_COMPILED])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force one level."""
    monkeypatch.setenv(kernels.VARIABLE, request.param)
    return str(request.param)
