"""Token views and their HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from kasauti.chat.supervise import supervise
from kasauti.chat.template import freeze
from kasauti.chat.view import Token, render_html, token_view


class Reader(HTMLParser):
    """Texts by class, tags balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {"kas-sup": [], "kas-pre": [], "kas-tokens": []}
        self.classes: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.classes.append(dict(attrs)["class"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.classes.pop()

    def handle_data(self, data):
        self.texts[self.classes[-1]].append(data)


def test_a_view_reads_as_the_conversation(tokenizer, talk):
    made = supervise(freeze(tokenizer), tokenizer, talk("Complaint: paisa nahi aaya"), "refund_delayed")
    view = token_view(tokenizer, made)
    assert [token.id for token in view] == list(made.ids)
    assert [token.supervised for token in view] == [label != -100 for label in made.labels]
    text = "".join(token.text for token in view)
    assert "Complaint: paisa nahi aaya" in text
    assert "".join(token.text for token in view if token.supervised).strip().startswith("refund_delayed<")


def test_parts_of_a_character_are_shown_in_the_tokenizers_spelling(family, talk):
    made = supervise(freeze(family("llama3")), family("llama3"), talk("👍🏽"), "other")
    assert all(token.text and "\ufffd" not in token.text for token in token_view(family("llama3"), made))


def test_html_shows_every_token_once_and_escapes_it():
    view = (Token("<script>&", 7, False), Token("\n", 8, False), Token(' "refund"', 9, True))
    page = render_html(view)
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert reader.texts == {"kas-pre": ["<script>&", "↵\n"], "kas-sup": [' "refund"'], "kas-tokens": []}
    assert "<script>" not in page
    assert re.findall(r'title="([^"]*)"', page) == ["id 7, prompt", "id 8, prompt", "id 9, supervised"]
    assert 'aria-label="3 tokens, 1 supervised"' in page


def test_supervised_tokens_are_told_apart_by_more_than_colour():
    page = render_html((Token("a", 1, True), Token("b", 2, False)))
    assert "border-bottom" in page
    assert "<mark" in page
    assert "color:inherit" in page
    assert "http" not in page
