"""Texts that say nothing, texts in a wrong encoding, languages."""

import pytest

from headwise.checking.texts import language, nonsense, reread

PLAIN = [
    "a fine film",
    "好看",
    "so so ???",
    "é",
    "Ça coûte 3 €",
    "naïve café — “quoted”",
    "👍",
    "5",
    "Größe: süß",
    "Ænima",
    "我的 iPhone 坏了!!!",
    "联通",
    "C'est à 20 °C",
    "Île",
    "Sepp+ñl+ñ",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_people_write_is_no_garbage(text):
    assert nonsense(text) == ""


@pytest.mark.parametrize("text", ["...", "!?", "锟斤拷锟斤拷", "caf\ufffd", "a\x07b", "????? ??", "— —"])
def test_what_says_nothing_is_garbage(text):
    assert nonsense(text) and not nonsense(text).startswith("reads ")


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("Größe und Café", "cp1252", "utf-8"),
        ("it’s “fine", "cp1252", "utf-8"),
        ("房间很干净,服务也好", "latin-1", "utf-8"),
        ("房间很干净,服务也好", "latin-1", "gb18030"),
        ("房间干净服务很好", "gb18030", "utf-8"),
    ],
)
def test_a_wrong_encoding_is_seen_and_mended(text, wrong, right):
    broken = text.encode(right).decode(wrong, "replace")
    assert broken != text and reread(broken) == text
    assert nonsense(broken).startswith("reads ")


@pytest.mark.parametrize(("text", "wrong"), [("很", "latin-1"), ("很好", "gb18030"), ("很a", "latin-1")])
def test_a_long_text_in_a_wrong_encoding_is_seen_wherever_it_is_cut(text, wrong):
    for more in range(4):
        broken = "a" * more + (text * 1_000).encode().decode(wrong, "replace")
        assert nonsense(broken).startswith("reads ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the room was clean and they were kind to us", "English"),
        ("Das Zimmer war sauber und die Leute waren nett", "German"),
        ("la chambre était propre et le personnel est gentil", "French"),
        ("la habitación está muy limpia y el personal es amable", "Spanish"),
        ("房间很干净", "Chinese"),
        ("部屋はとてもきれいです", "Japanese"),
        ("방이 아주 깨끗해요", "Korean"),
        ("номер был чистый", "Russian or another language in Cyrillic"),
        ("Samsung Galaxy S4 64G", "Latin script"),
        ("ok", ""),
        ("5", ""),
    ],
)
def test_the_language_of_a_text(text, expected):
    assert language(text) == expected
