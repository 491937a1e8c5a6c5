"""Chapters are found in text and EPUB, and hostile files are refused with a reason."""

import pytest

from bookreader.parsing import BrokenBook, Section, parse
from bookreader.parsing import epub as epub_module
from tests.books import PACKAGE, epub


def chapters(name: str, data: bytes) -> list[tuple[str, str]]:
    """Return titles and texts."""
    return [(section.title, section.text) for section in parse(name, data).sections]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("Chapter 1", "Chapter 1"),
        ("CHAPTER IV. The Whale", "CHAPTER IV. The Whale"),
        ("chapter two", "chapter two"),
        ("Book 3 - Home", "Book 3 - Home"),
        ("Part II The Sea", "Part II The Sea"),
        ("## A title", "A title"),
    ],
)
def test_heading_begins_a_chapter(heading: str, title: str) -> None:
    assert chapters("a.txt", f"{heading}\r\n\r\nText.".encode()) == [(title, "Text.")]


@pytest.mark.parametrize("prose", ["Book I was reading.", "Part of it", "#hash", "Chapters 1 and 2"])
def test_prose_is_no_heading(prose: str) -> None:
    assert chapters("a.txt", prose.encode()) == [("Part 1", prose)]


def test_text_before_the_first_heading_is_kept_and_a_table_of_contents_falls_out() -> None:
    text = "A preface.\n\nChapter 1\nChapter 2\n\nChapter 1\nOne.\nChapter 2\nTwo."
    expected = [("Opening", "A preface."), ("Chapter 1", "One."), ("Chapter 2", "Two.")]
    assert chapters("a.txt", text.encode()) == expected


def test_text_without_headings_is_cut_after_paragraphs_and_nothing_is_lost() -> None:
    paragraph = "word " * 300
    parts = chapters("a.txt", "\n\n".join([paragraph] * 50).encode())
    assert [title for title, _ in parts[:2]] == ["Part 1", "Part 2"]
    assert " ".join(text for _, text in parts).split() == (paragraph * 50).split()
    assert all(text.endswith("word") and len(text) <= 12_000 for _, text in parts)


def test_text_without_any_space_is_cut_as_well() -> None:
    assert sum(len(text) for _, text in chapters("a.txt", b"x" * 50_000)) == 50_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str) -> None:
    assert chapters("a.TXT", "Caf\u00e9 \u2019".encode(encoding)) == [("Part 1", "Caf\u00e9 \u2019")]


def test_epub_is_read_in_spine_order_and_covers_are_left_out() -> None:
    manuscript = parse("a.epub", epub())
    assert manuscript.title == "The Spine"
    assert list(manuscript.sections) == [
        Section("One", "Of One\n\n& more of it", 2 / 3),
        Section("Two", "Of Two\n\n& more of it", 3 / 3),
    ]


def test_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = epub(**{"OPS/text/one.xhtml": b"0" * 2**21})
    monkeypatch.setattr(epub_module, "MAX_UNPACKED", 2**21)
    assert len(bomb) < 2**14
    with pytest.raises(BrokenBook, match="unpacks to more than 2 MB"):
        parse("a.epub", bomb)


def test_crowd_of_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epub_module, "MAX_ENTRIES", 4)
    with pytest.raises(BrokenBook, match="has 5 entries"):
        parse("a.epub", epub())


LAUGHS = f'<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>{PACKAGE}'.replace("The  Spine", "&b;")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a zip", "BadZipFile"),
        (epub()[:-200], "BadZipFile"),
        (epub(**{"META-INF/container.xml": b"<container/>"}), "names no package"),
        (epub(**{"META-INF/container.xml": b"<container"}), "ParseError"),
        (epub(**{"OPS/book.opf": LAUGHS.encode()}), "EntitiesForbidden"),
        (epub(**{"OPS/book.opf": PACKAGE.replace("one.x", "none.x").encode()}), "KeyError"),
    ],
    ids=["no zip", "cut off", "no package", "no xml", "entities", "missing page"],
)
def test_broken_epub_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenBook, match=reason):
        list(parse("a.epub", data).sections)
