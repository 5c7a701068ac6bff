"""Documents are chunked within bounds, kept up chunk by chunk, and found by what they say."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import DataError, StorageError
from kasauti.data.knowledge import index as indexing
from kasauti.data.knowledge.chunks import chunks_of, estimate, terms
from kasauti.data.knowledge.documents import Section, document_files, sections_of
from kasauti.data.knowledge.index import Index, fused, shown
from kasauti.data.knowledge.store import SqliteStore

REFUNDS = """# Refunds

A refund is paid within five working days.

## To a card

The issuer may take three more days. Ask the bank after that.

## To a wallet

Money comes back to a wallet at once.
"""
CARDS = "# Cards\n\nA blocked card is opened by the bank, never by the shop.\n"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "refunds.md").write_text(REFUNDS, encoding="utf-8")
    (folder / "cards.md").write_text(CARDS, encoding="utf-8")
    (folder / "fees.csv").write_text("fee,amount\ntransfer,2\nlate payment,15\n", encoding="utf-8")
    return folder


@pytest.fixture(params=["sqlite", pytest.param("lance", marks=pytest.mark.slow)])
def store(request, tmp_path):
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "index.db")
    pytest.importorskip("lancedb")
    from kasauti.data.knowledge.lance import LanceStore

    return LanceStore(str(tmp_path / "lance"))


class Counting:
    """Counts the texts that are embedded: a bag of letters is vector enough."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts):
        self.texts += texts
        return np.array(
            [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], "f4"
        )


def test_after_one_document_changes_only_its_changed_chunks_are_indexed_again(docs, store, monkeypatch):
    read: list[str] = []
    monkeypatch.setattr(indexing, "sections_of", lambda file: read.append(file.name) or sections_of(file))
    embed = Counting()
    index = Index(store=store, tokens=60, overlap=10, embed=embed, embedded_by="letters")
    first = index.update(docs)
    assert (first.documents, first.read, first.chunks) == (3, 3, 6)
    assert first.added == len(embed.texts) == 6

    read.clear()
    embed.texts.clear()
    again = index.update(docs)
    assert (again.read, again.added, again.removed, read, embed.texts) == (0, 0, 0, [], [])

    changed = REFUNDS.replace("at once", "within one hour")
    (docs / "refunds.md").write_text(changed, encoding="utf-8")
    third = index.update(docs)
    assert (third.read, third.added, third.removed, third.chunks) == (1, 1, 1, 6)
    assert read == ["refunds.md"]
    assert embed.texts == ["Refunds › To a wallet\nMoney comes back to a wallet within one hour."]
    assert "one hour" in index.find("how long to a wallet", 1)[0].chunk.text
    assert not any("at once" in hit.chunk.text for hit in index.find("wallet at once", 9))

    (docs / "cards.md").unlink()
    last = index.update(docs)
    assert (last.gone, last.read, last.chunks) == (1, 0, 5)
    assert not any(hit.chunk.source == "cards.md" for hit in index.find("blocked card bank shop", 9))


def test_another_embedding_model_makes_all_vectors_anew(docs, store):
    Index(store=store, tokens=60, overlap=10).update(docs)
    embed = Counting()
    made = Index(store=store, tokens=60, overlap=10, embed=embed, embedded_by="letters").update(docs)
    assert made.added == len(embed.texts) == made.chunks == 6


def test_a_question_finds_the_chunk_that_answers_it_and_names_where_it_is_from(docs, store):
    index = Index(store=store, tokens=60, overlap=10)
    index.update(docs)
    for question, name in {
        "When does a refund reach my CARD issuer?": "refunds.md › Refunds › To a card",
        "who opens a blocked card": "cards.md › Cards",
        "what is the late payment fee": "fees.csv › row 2",
    }.items():
        assert index.find(question, 2)[0].chunk.name == name
    assert index.find("zebra", 3) == []
    assert index.find("?!", 3) == []
    assert index.find("'\" OR NEAR( *", 3) is not None, "what a user writes is never read as a query language"


def test_hindi_is_found_whole_word_by_whole_word(tmp_path, store):
    (tmp_path / "h.txt").write_text("रिफंड पाँच दिन में आता है।\n\nकार्ड बैंक खोलता है।", encoding="utf-8")
    index = Index(store=store, tokens=12, overlap=0)
    index.update(tmp_path / "h.txt")
    assert "रिफंड" in index.find("रिफंड कब", 1)[0].chunk.text
    assert terms("रिफंड कब आएगा?") == ["रिफंड", "कब", "आएगा"]
    assert terms("返金") == ["返", "金"]


def test_rankings_are_fused_by_reciprocal_rank(docs, tmp_path):
    index = Index(store=SqliteStore(tmp_path / "i.db"), tokens=60, overlap=10)
    index.update(docs)
    a, b, c = index.find("refund card wallet", 3)
    assert [hit.chunk.id for hit in fused([[a, b, c], [b, c]], 2)] == [b.chunk.id, c.chunk.id]


paragraphs = st.lists(
    st.lists(st.text(alphabet="abcdefg.", min_size=1, max_size=30), min_size=1, max_size=60), max_size=8
)


@settings(max_examples=40)
@given(paragraphs=paragraphs, tokens=st.integers(16, 80), overlap=st.integers(0, 8), heading=st.text(max_size=80))
def test_no_chunk_is_over_its_bound_and_no_word_is_lost(paragraphs, tokens, overlap, heading):
    text = "\n\n".join(" ".join(words) for words in paragraphs)
    heading = " ".join(heading.split())
    made = chunks_of("d", [Section(heading, text)], tokens=tokens, overlap=overlap)
    assert all(estimate(shown(one)) <= tokens for one in made if len(one.heading) <= 2 * tokens)
    kept = "".join("".join(one.text.split()) for one in made)
    assert not set("".join(text.split())) - set(kept)
    assert len({one.id for one in made}) == len(made)


def test_a_chunk_begins_with_the_end_of_the_one_before():
    sentences = [f"Sentence number {n} says something of its own." for n in range(12)]
    made = chunks_of("d", [Section("", " ".join(sentences))], tokens=60, overlap=15)
    for before, after in pairwise(made):
        assert after.text.startswith(before.text[before.text.rindex("Sentence number") :].strip())
    assert all(any(sentence in one.text for one in made) for sentence in sentences)


def test_a_code_block_is_no_heading_and_html_is_its_text(tmp_path):
    (tmp_path / "a.md").write_text("# Top\n```\n# not a heading\n```\n## Sub\ntext\n", encoding="utf-8")
    assert [(s.heading, "not a heading" in s.text) for s in sections_of(tmp_path / "a.md")] == [
        ("Top", True),
        ("Top › Sub", False),
    ]
    page = (
        "<html><head><title>T</title><style>p{}</style></head><body><nav>menu</nav><h1>Fees &amp; more</h1><p>Two "
        "<b>euros</b> a month.</p><h2>Late</h2><table><tr><td>15</td><td>days</td></tr></table><script>x()</script>"
    )
    (tmp_path / "b.html").write_text(page, encoding="utf-8")
    assert [(s.heading, s.text) for s in sections_of(tmp_path / "b.html")] == [
        ("Fees & more", "Two euros a month."),
        ("Fees & more › Late", "15 days"),
    ]


def test_pdf_pages_are_sections_and_one_without_text_is_said(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(200, 200)
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica")})  # fmt: skip
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
    )
    stream = DecodedStreamObject()
    stream.set_data(b"BT /F1 12 Tf 20 100 Td (Refunds take five days.) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.write(tmp_path / "p.pdf")
    assert sections_of(tmp_path / "p.pdf") == [Section("page 1", "Refunds take five days.")]
    empty = pypdf.PdfWriter()
    empty.add_blank_page(100, 100)
    empty.write(tmp_path / "e.pdf")
    with pytest.raises(DataError, match=r"has no text.*text recognition"):
        sections_of(tmp_path / "e.pdf")
    (tmp_path / "broken.pdf").write_bytes(b"no pdf at all")
    with pytest.raises(DataError, match="is no PDF"):
        sections_of(tmp_path / "broken.pdf")


def test_what_is_no_document_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        document_files(tmp_path / "nothing")
    with pytest.raises(DataError, match="has no document"):
        document_files(tmp_path)
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"cannot read \.docx"):
        document_files(tmp_path / "a.docx")
    (tmp_path / "index.db").write_bytes(b"this is no database, whatever it is called" * 40)
    with pytest.raises(StorageError, match="no index of documents"):
        SqliteStore(tmp_path / "index.db")


def test_a_change_that_is_cut_off_leaves_the_document_as_it_was(docs, tmp_path, monkeypatch):
    store = SqliteStore(tmp_path / "i.db")
    index = Index(store=store, tokens=60, overlap=10)
    index.update(docs)
    before = [hit.chunk for hit in index.find("wallet money card bank refund", 9)]
    (docs / "refunds.md").write_text(REFUNDS.replace("wallet", "purse"), encoding="utf-8")
    chunks = list(chunks_of("refunds.md", sections_of(docs / "refunds.md"), tokens=60, overlap=10))
    with pytest.raises(AttributeError):
        store.put("refunds.md", "new", [*chunks, None], store.ids("refunds.md"), [])
    assert [hit.chunk for hit in index.find("wallet money card bank refund", 9)] == before
    assert index.update(docs).read == 1


def test_the_index_of_words_is_the_same_after_many_changes_as_one_made_at_once(tmp_path):
    draw, folder = random.Random(3), tmp_path / "docs"
    folder.mkdir()
    words = ["refund", "card", "wallet", "bank", "fee", "late", "order", "days", "money"]
    index = Index(store=SqliteStore(tmp_path / "a.db"), tokens=40, overlap=8)
    for _ in range(12):
        name = f"d{draw.randrange(4)}.md"
        text = "\n\n".join(f"# H{n}\n\n{' '.join(draw.choices(words, k=9))}." for n in range(draw.randrange(1, 5)))
        (folder / name).write_text(text, encoding="utf-8")
        index.update(folder)
    fresh = Index(store=SqliteStore(tmp_path / "b.db"), tokens=40, overlap=8)
    fresh.update(folder)
    assert index.store.count() == fresh.store.count()
    for word in words:
        one, other = index.find(f"{word} money", 5), fresh.find(f"{word} money", 5)
        assert [(h.chunk.id, pytest.approx(h.score)) for h in one] == [(h.chunk.id, h.score) for h in other]
