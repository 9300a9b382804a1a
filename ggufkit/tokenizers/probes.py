"""Texts on which tokenizers are compared, chosen so that a wrong pre-tokenizer shows.

All are in normal form C: llama.cpp does not normalize text for byte-pair encoding, which is not a
fault of the conversion.
"""

from __future__ import annotations

PROBES: tuple[str, ...] = (
    "Hello, world! It was the best of times, it was the worst of times.",
    "I'll say we've SEEN that they're 'RE you'd, WE'LL, I'M, don't, o'clock, rock 'n' roll",
    "1 12 123 1234 12345 123456 1234567 3.14159 1,000,000 0x7F 1e-9 2026-11-24 ½ ² ٣ ४",
    " leading, trailing and  two   three    four spaces     ",
    "tab\tand\t\ttwo\n\nnew\r\nlines\n   \n\t\n end\n\n\n",
    " \n  \n   \t \r\n",
    "def f(x, *, y=None) -> list[int]:\n    return [i ** 2 for i in range(10) if i % 2 == 0]\n",
    'for (int i = 0; i < n; ++i) {\n\t\tprintf("%d\\n", a[i]->b.c); // x != y && !z\n\t}',
    '{"key": [1, 2.5, null, true], "nested": {"a_b-c": "d/e\\\\f"}}',
    '<div class="a b"><p>text &amp; more</p></div> $x^2 + \\frac{1}{2}$ `code` ~~no~~ **b** __i__',
    "https://example.org/path?query=1&other=two#part user.name+tag@example.org C:\\Users\\x",
    "CamelCase snake_case kebab-case SCREAMING_CASE iPhone McDonald XMLHttpRequest aB1cD2",
    "!!! ??? ... ---- ==== #### ''''''```````\"\"\"\"......!!!!!!?????? (a) [b] {c} <d> «e» “f” ‘g",
    "naïve café Ångström ÀÉÎÕÜ ñ ç ß œ æ ø þ ð İstanbul ıüğşçö",
    "Příliš žluťoučký kůň úpěl ďábelské ódy; zażółć gęślą jaźń",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак і ґанок",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "המכללה שלום עולם, שָׁלוֹם",
    "مرحبا بالعالم، كيف حالك؟ پارسی ۱۲۳ اُردو",
    "नमस्ते दुनिया, क्षत्रिय १२३। বাংলা ভাষা தமிழ் மொழி తెలుగు",
    "สวัสดีชาวโลก ภาษาไทย ລາວ မြန်မာ កាន់តែពិសេសអាច ქართული Հայերեն አማርኛ",
    "你好，世界！我想在apple工作1314151天～ 中文分词、繁體字。",
    "これはペンです。カタカナとひらがな、漢字ー１２３ 東京タワー",
    "안녕하세요 세계, 한국어 띄어쓰기 ㅋㅋㅋ",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ 🦙🦙 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ☃️",
    "∑ ∫ √ ≤ ≥ ≠ ∞ → ⇒ ∀x∈ℝ ⌈x⌉ € £ ¥ ₹ © ® ™ § ¶ † • … – — ½",
    "𝕳𝖊𝖑𝖑𝖔 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ｆｕｌｌｗｉｄｔｈ ﬁ ligature Ⅷ ①",
    "no\u00a0break\u3000wide\u2009thin\u200bzero\u2028line soft\u00adhyphen \ufeffmark",
    "\u0001\u0007\u001b[31m control \u007f characters",
    "supercalifragilisticexpialidocious Donaudampfschifffahrtsgesellschaft pneumonoultramicroscope",
    "x" * 40 + " " + "=" * 70 + " " + "ab" * 20 + " " + "0" * 33,
    "system\nYou are a helpful assistant.\nuser\nHi!\nassistant\n",
)
