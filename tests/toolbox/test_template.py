"""Chat templates: those of known models render as in transformers, hostile ones do nothing."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from ggufkit.errors import TemplateError
from ggufkit.toolbox.template import Conversation, Limits, render, render_all

USER = [{"role": "user", "content": "Hi"}]
QUICK = Limits(seconds=1)


def test_a_conversation() -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    text = render(
        template,
        [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Ho"}],
        bos_token="<s>",
        eos_token="</s>",
        add_generation_prompt=True,
    )
    assert text == "<s>[user] Hi</s>[assistant] Ho</s>[assistant]"


def test_blocks_leave_no_blank_lines_as_in_transformers() -> None:
    template = (
        "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}"
    )
    assert render(template, USER) == "Hi\n"


def test_what_templates_are_given() -> None:
    template = (
        "{{ tools | tojson }}|{{ 'ä<' | tojson }}|{{ strftime_now('%Y-%m-%d') }}|"
        "{% generation %}x{% endgeneration %}|{% for i in range(9) %}{% if i == 2 %}{% break %}"
        "{% endif %}{{ i }}{% endfor %}|{{ enable_thinking }}|{{ messages | tojson(indent=1) }}"
    )
    variables = {"tools": [{"b": 1, "a": None}], "enable_thinking": False}
    (found,) = render_all(
        template, [Conversation(USER, variables=variables)], now=datetime(2026, 2, 3)
    )
    shown = json.dumps(USER, indent=1)
    assert found.text == f'[{{"b": 1, "a": null}}]|"ä<"|2026-02-03|x|01|False|{shown}'


@pytest.mark.parametrize(
    ("template", "kind", "message"),
    [
        ("{% if %}", "syntax", "line 1"),
        ("x\n{% endfor %}", "syntax", "line 2"),
        ("{{ raise_exception('Only user messages') }}", "raised", "Only user messages"),
        ("{{ nothing.field }}", "failed", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "failed", "ZeroDivisionError"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "failed", "RecursionError"),
        ("{% include 'secrets' %}", "failed", "loader"),
        ("x" * ((1 << 20) + 1), "limit", "longer than"),
    ],
)
def test_what_goes_wrong_is_told(template: str, kind: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message.replace("(", "\\(")) as error:
        render(template, USER)
    assert error.value.kind == kind


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 'a' * 10 ** 9 }}",
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% set n = namespace(x='a' * 99) %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
        "{% endfor %}{{ n.x }}",
        "{{ 7 ** (7 ** (9 ** 9)) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ lipsum(n=99999) }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_no_template_hangs_or_fills_the_memory(template: str) -> None:
    start = time.monotonic()
    (found,) = render_all(template, [Conversation(USER)], limits=QUICK)
    assert found.kind in ("limit", "failed")
    assert found.text == ""
    assert time.monotonic() - start < 10


ESCAPES = [
    # as in CVE-2024-34359
    "{% for x in ().__class__.__base__.__subclasses__() %}{% if 'warning' in x.__name__ %}"
    "{{ x()._module.__builtins__['__import__']('os').popen('touch CANARY').read() }}"
    "{% endif %}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').system('touch CANARY') }}",
    "{{ raise_exception.__globals__['sys'].modules['os'].system('touch CANARY') }}",
    "{{ strftime_now.__closure__[0].cell_contents }}{{ strftime_now.__code__ }}",
    "{{ (messages | attr('__class__')).__mro__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ ''['format_map']({}) }}{{ ('{a.__class__}' | attr('format'))(a=1) }}",
    "{{ joiner.__call__.__func__.__globals__ }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_no_code_runs(template: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = template.replace("CANARY", str(canary))
    (found,) = render_all(text, [Conversation(USER)], limits=QUICK)
    assert not canary.exists()
    assert "class" not in found.text
    assert "module" not in found.text


def test_the_canary_would_be_seen(tmp_path: Path) -> None:
    """The first escape works in an environment without a sandbox: the test can fail."""
    import jinja2

    canary = tmp_path / "canary"
    template = ESCAPES[1].replace("CANARY", str(canary))
    jinja2.Environment().from_string(template).render()
    assert canary.exists()


def test_messages_can_not_be_changed() -> None:
    with pytest.raises(TemplateError) as error:
        render("{% if messages.append(1) %}{% endif %}", USER)
    assert error.value.kind == "unsafe"


def test_the_worker_can_write_no_file(tmp_path: Path) -> None:
    """Whatever leaves the sandbox meets the limits of the process."""
    import subprocess
    import sys

    from ggufkit.toolbox import template_worker

    code = (
        "import runpy, sys; worker = runpy.run_path(sys.argv[1]); worker['_limit'](5, 512 << 20)\n"
        "try:\n    open(sys.argv[2], 'wb', 0).write(b'x')\nexcept OSError: print('no file')\n"
    )
    target = tmp_path / "written"
    done = subprocess.run(
        [sys.executable, "-c", code, template_worker.__file__, target],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "no file" in done.stdout
    assert target.stat().st_size == 0


def test_prompts_are_those_of_transformers() -> None:
    path = Path(__file__).with_name("transformers_templates.json")
    fixture = json.loads(path.read_text(encoding="utf-8"))
    conversations = [Conversation(**given) for given in fixture["conversations"]]
    for case in fixture["cases"]:
        found = render_all(case["template"], conversations, bos_token="<s>", eos_token="</s>")
        rendered = [None if rendering.kind else rendering.text for rendering in found]
        assert rendered == case["rendered"], case["name"]
