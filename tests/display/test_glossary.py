"""Terms explain themselves once a text, whatever stands around them, and text from files stays text."""

import re

import pytest

from harmviz.display import glossary


def explained_words(html: str) -> list[str]:
    return re.findall(r'<span class="hv-term"[^>]*>([^<]*)</span>', html)


def plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def test_the_first_mention_of_each_term_explains_itself() -> None:
    html = glossary.explained("A mask has a harm score; another mask has none.")
    assert explained_words(html) == ["mask", "harm score"]
    assert glossary.TERMS["harm score"].split(".")[0] in html
    assert plain(html) == "A mask has a harm score; another mask has none."


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Random controls do nothing", ["Random controls"]),
        ("The masks of both", ["masks"]),
        ("random control", ["random control"]),  # the longest term wins: not "control"
        ("unmasked, controlled, self-mask", []),
        ("N weights, q and Q", ["q"]),
    ],
)
def test_terms_are_found_as_sentences_spell_them(sentence: str, words: list[str]) -> None:
    assert explained_words(glossary.explained(sentence)) == words


def test_a_plural_after_a_singular_is_not_explained_again() -> None:
    assert explained_words(glossary.explained("One mask, two masks. Masks.")) == ["mask"]


def test_text_is_escaped_around_and_inside_terms() -> None:
    html = glossary.explained('<img src=x onerror="mask"> & mask')
    assert "<img" not in html
    assert "&lt;img" in html
    assert "&amp;" in html
    assert explained_words(html) == ["mask"]
    assert (
        plain(html).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        == '<img src=x onerror="mask"> & mask'
    )


def test_a_term_can_be_shown_by_another_name_and_an_unknown_one_is_refused() -> None:
    assert explained_words(glossary.term("Jaccard", "a < b")) == ["a &lt; b"]
    assert 'tabindex="0"' in glossary.term("mask"), "keyboards reach the explanation"
    with pytest.raises(KeyError):
        glossary.term("no such term")


def test_the_table_lists_every_term_with_its_meaning() -> None:
    html = glossary.table()
    assert html.count("<dt>") == len(glossary.TERMS)
    assert "<dt>Jaccard</dt>" in html
    assert "|weight × gradient|" in html
    names = re.findall("<dt>(.*?)</dt>", html)
    assert names == sorted(names, key=str.casefold)
