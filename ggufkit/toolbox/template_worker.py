"""Renders chat templates in a separate process; only `ggufkit.toolbox.template` runs it.

Started as a script, isolated, without this package. Reads one JSON object from standard input and
writes one to standard output. The template runs in jinja2's immutable sandbox; the limits of the
process hold for whatever escapes it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_TOO_LONG = "more than {} bytes of output"


class _Raised(Exception):  # noqa: N818 - what a template says, no error of this program
    """The template called raise_exception."""


class _TooLong(Exception):  # noqa: N818
    """The output exceeds its limit."""


class _Generation(Extension):
    """``{% generation %}``, which marks the assistant's words for training: the content is kept."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(now: str) -> ImmutableSandboxedEnvironment:
    """Return the environment that templates are written for: transformers' names and settings."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    moment = datetime.fromisoformat(now)

    def raise_exception(message: object = "") -> None:
        raise _Raised(str(message)[:500])

    def strftime_now(form: str) -> str:
        return moment.strftime(form)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment


def _limit(seconds: float, memory: int) -> None:
    """Limit the process; where the system can't, only the parent's timeout remains."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for what, limit in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, int(seconds) + 1),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, 0),
        ):
            resource.setrlimit(what, (limit, limit))
    if hasattr(signal, "setitimer"):
        # The default action ends the process whatever it is doing, a long multiplication too.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _render(template: Any, variables: dict[str, Any], max_output: int) -> dict[str, str]:
    pieces, size = [], 0
    try:
        for piece in template.generate(**variables):
            size += len(piece.encode("utf-8", "surrogatepass"))
            if size > max_output:
                raise _TooLong
            pieces.append(piece)
    except Exception as error:
        return _failure(error, max_output)
    return {"text": "".join(pieces)}


def _failure(error: Exception, max_output: int) -> dict[str, str]:
    if isinstance(error, _TooLong):
        return {"kind": "limit", "message": _TOO_LONG.format(max_output)}
    if isinstance(error, MemoryError):
        return {"kind": "limit", "message": "more memory than is allowed"}
    if isinstance(error, _Raised):
        return {"kind": "raised", "message": str(error)}
    if isinstance(error, SecurityError):
        return {"kind": "unsafe", "message": str(error)[:500]}
    if isinstance(error, TemplateSyntaxError):
        return {"kind": "syntax", "message": f"line {error.lineno}: {error.message}"[:500]}
    if isinstance(error, OverflowError) and "Range too big" in str(error):
        return {"kind": "limit", "message": str(error)[:500]}
    known = isinstance(error, TemplateError)
    name = "" if known else f"{type(error).__name__}: "
    return {"kind": "failed", "message": f"{name}{error}"[:500]}


def main() -> None:
    """Render a template with each set of variables."""
    request = json.loads(sys.stdin.buffer.read())
    environment = _environment(request["now"])
    # A first template loads what jinja2 loads lazily, before files and memory are limited.
    environment.from_string("{% if a %}{{ a | trim }}{% endif %}").render(a="a")
    _limit(request["seconds"], request["memory"])
    max_output = request["max_output"]
    try:
        template = environment.from_string(request["template"])
    except Exception as error:
        results = [_failure(error, max_output)] * len(request["variables"])
    else:
        results = [_render(template, v, max_output) for v in request["variables"]]
    sys.stdout.write(json.dumps(results))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
