"""An evaluator of the part of Go's text/template that our templates use, from its documentation.

Texts and actions without trim markers; ``if``, ``else if``, ``else``, ``range $i, $v := ...``,
``end``, ``:=`` and ``=``; fields, variables, strings, numbers, parentheses; ``and``, ``eq``,
``ne``, ``not``, ``len``, ``slice``. Anything else is an error.
"""

from __future__ import annotations

import ast
import re

TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<number>\d+)|(?P<mark>:=|=|,|\(|\))"""
    r"""|(?P<path>\$?[A-Za-z_]\w*(?:\.\w+)*|\$(?:\.\w+)*|(?:\.\w+)+|\.))"""
)


def execute(template: str, data: dict) -> str:
    """Render a template as Go would, `data` being the dot."""
    nodes, rest = parse(split(template))
    assert not rest, f"left over: {rest[:3]}"
    out: list[str] = []
    run(nodes, data, [{"$": data}], out)
    return "".join(out)


def ollama(template: str, messages: list[dict]) -> str:
    """Render as Ollama does: the system texts are joined, neighbours of one role are merged."""
    merged: list[dict] = []
    for message in messages:
        if merged and merged[-1]["Role"] == message["role"]:
            merged[-1]["Content"] += "\n\n" + message["content"]
        else:
            merged.append({"Role": message["role"], "Content": message["content"]})
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    return execute(template, {"System": system, "Messages": merged, "Response": ""})


def split(template: str) -> list[tuple[str, str]]:
    """Return texts and actions; an action ends at the first ``}}`` outside of quotes."""
    found, at = [], 0
    while (start := template.find("{{", at)) >= 0:
        found.append(("text", template[at:start]))
        inner = re.compile(r'(?:[^"}]|"(?:[^"\\\n]|\\.)*"|\}(?!\}))*').match(template, start + 2)
        assert template.startswith("}}", inner.end()), f"unclosed action at {start}"
        assert not inner[0].startswith("- "), "trim markers"
        found.append(("action", inner[0].strip()))
        at = inner.end() + 2
    return [*found, ("text", template[at:])]


def parse(parts: list) -> tuple[list, list]:
    """Return nodes up to ``else`` or ``end``, and what is left, from that on."""
    nodes = []
    while parts:
        kind, text = parts[0]
        word = text.split(" ", 1)[0] if kind == "action" else ""
        if word in ("else", "end"):
            return nodes, parts
        parts = parts[1:]
        if word in ("if", "range"):
            branch, parts = parse_branch(word, text[len(word) :], parts)
            nodes.append(branch)
        else:
            nodes.append((kind, text))
    return nodes, parts


def parse_branch(word: str, condition: str, parts: list) -> tuple[tuple, list]:
    body, parts = parse(parts)
    other: list = []
    assert parts, f"{word} without end"
    closing, parts = parts[0][1], parts[1:]
    if closing.startswith("else if "):
        branch, parts = parse_branch("if", closing[len("else if") :], parts)
        return (word, condition, body, [branch]), parts
    if closing == "else":
        other, parts = parse(parts)
        assert parts[0][1] == "end", parts[0]
        parts = parts[1:]
    else:
        assert closing == "end", closing
    return (word, condition, body, other), parts


def run(nodes: list, dot: object, scopes: list, out: list[str]) -> None:
    scopes = [*scopes, {}]
    for node in nodes:
        if node[0] == "text":
            out.append(node[1])
        elif node[0] == "action":
            action(node[1], dot, scopes, out)
        elif node[0] == "if":
            _, condition, body, other = node
            run(body if evaluate(condition, dot, scopes) else other, dot, scopes, out)
        else:
            _, header, body, _ = node
            names, _, items = header.partition(":=")
            index, value = (name.strip() for name in names.split(","))
            for number, item in enumerate(evaluate(items, dot, scopes)):
                run(body, item, [*scopes, {index: number, value: item}], out)


def action(text: str, dot: object, scopes: list, out: list[str]) -> None:
    match = re.fullmatch(r"(\$\w+) (:=|=) (.*)", text, re.DOTALL)
    if match is None:
        value = evaluate(text, dot, scopes)
        assert isinstance(value, str), f"{text} prints {value!r}"
        out.append(value)
        return
    name, sign, value = match[1], match[2], evaluate(match[3], dot, scopes)
    if sign == ":=":
        scopes[-1][name] = value
    else:
        next(scope for scope in reversed(scopes) if name in scope)[name] = value


def evaluate(text: str, dot: object, scopes: list) -> object:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, f"not understood: {text[at:]}"
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    value, rest = command(tokens, dot, scopes)
    assert not rest, f"left over in {text}"
    return value


def command(tokens: list, dot: object, scopes: list) -> tuple[object, list]:
    kind, text = tokens[0]
    if text in ("true", "false"):
        return text == "true", tokens[1:]
    if kind != "path" or text[0] in ".$":
        return operand(tokens, dot, scopes)
    arguments, rest = [], tokens[1:]
    while rest and rest[0] != ("mark", ")"):
        value, rest = operand(rest, dot, scopes)
        arguments.append(value)
    return FUNCTIONS[text](*arguments), rest


def operand(tokens: list, dot: object, scopes: list) -> tuple[object, list]:
    (kind, text), rest = tokens[0], tokens[1:]
    if kind == "string":
        return go_string(text), rest
    if kind == "number":
        return int(text), rest
    if (kind, text) == ("mark", "("):
        value, rest = command(rest, dot, scopes)
        assert rest[0] == ("mark", ")"), rest
        return value, rest[1:]
    assert kind == "path", text
    first, *fields = text.split(".")
    value = dot if not first else next(s for s in reversed(scopes) if first in s)[first]
    for field in filter(None, fields):
        value = value[field]
    return value, rest


def go_string(text: str) -> str:
    r"""Return what an interpreted string means; Go takes ``\uXXXX``, ``\UXXXXXXXX``, ``\n``, ..."""
    escapes = re.findall(r"\\(.)", text)
    assert set(escapes) <= set('nrtbfav"\\uU'), escapes
    value = str(ast.literal_eval(text))
    value.encode()  # surrogates are not allowed
    return value


def conjunction(*values: object) -> object:
    return next((value for value in values if not value), values[-1])


FUNCTIONS = {
    "and": conjunction,
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "not": lambda value: not value,
    "len": len,
    "slice": lambda items, start: items[start:],
}
