"""Read an EPUB: a zip file that an unknown person made."""

import posixpath
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import unquote
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from defusedxml.ElementTree import fromstring

from bookreader.parsing.section import BrokenBook, Section
from bookreader.parsing.text import decoded

MAX_UNPACKED = 256 * 2**20
MAX_ENTRIES = 10_000

SKIPPED = {"head", "script", "style"}
HEADINGS = {"h1", "h2", "h3"}
BLOCKS = HEADINGS | {"p", "div", "br", "li", "tr", "h4", "h5", "h6", "blockquote", "section", "pre", "hr"}
BREAK = "\0"  # cannot occur in a book: it is dropped from the text itself


class Epub:
    """An opened EPUB: its title, and its chapters in reading order."""

    def __init__(self, data: bytes) -> None:
        self.archive = ZipFile(BytesIO(data))
        self.refuse_bomb()
        rootfile = self.xml("META-INF/container.xml").find(".//{*}rootfile")
        if rootfile is None:
            raise BrokenBook("the EPUB names no package document")
        self.path = rootfile.get("full-path", "")
        self.package = self.xml(self.path)

    def refuse_bomb(self) -> None:
        """Refuse by the declared sizes: zipfile never hands out more than an entry declares."""
        entries = self.archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise BrokenBook(f"the EPUB has {len(entries)} entries, at most {MAX_ENTRIES} are read")
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
            raise BrokenBook(f"the EPUB unpacks to more than {MAX_UNPACKED // 2**20} MB")

    def xml(self, path: str) -> Element:
        """Parse one XML entry, with entity tricks refused."""
        root: Element = fromstring(self.archive.read(path))
        return root

    @property
    def title(self) -> str:
        """Return the title that the publisher gave, or nothing."""
        return " ".join((self.package.findtext(".//{*}metadata/{*}title") or "").replace("\0", "").split())

    def spine(self) -> list[str]:
        """Return the entries in reading order, each once, so that a repeated one cannot inflate the book."""
        items = self.package.iterfind(".//{*}manifest/{*}item")
        hrefs = {item.get("id"): item.get("href", "") for item in items}
        order = [hrefs.get(item.get("idref"), "") for item in self.package.iterfind(".//{*}spine/{*}itemref")]
        return list(dict.fromkeys(self.entry(href) for href in order if href))

    def entry(self, href: str) -> str:
        """Return the name of an entry; a reference is relative to the package document."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.path), unquote(href)))

    def sections(self) -> Iterator[Section]:
        """Yield the chapters; pages without text, such as covers, are left out."""
        spine = self.spine()
        for count, path in enumerate(spine, start=1):
            page = Page()
            page.feed(decoded(self.archive.read(path)))
            page.close()
            if text := page.text:
                yield Section(page.title or f"Section {count}", text, count / len(spine))


class Page(HTMLParser):
    """Collect the text of one page, a blank line between its blocks, and its first heading."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.heading: list[str] = []
        self.skipping = ""
        self.reading_heading = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # HTMLParser passes it
        """Note where blocks begin and what to skip."""
        if tag in SKIPPED and not self.skipping:
            self.skipping = tag
        if tag in BLOCKS:
            self.parts.append(BREAK)
        self.reading_heading = self.reading_heading or (tag in HEADINGS and not self.title)

    def handle_endtag(self, tag: str) -> None:
        """Note where blocks end."""
        if tag == self.skipping:
            self.skipping = ""
        if tag in BLOCKS:
            self.parts.append(BREAK)
        if tag in HEADINGS:
            self.reading_heading = False

    def handle_data(self, data: str) -> None:
        """Keep the text that a reader would see."""
        if not self.skipping:
            (self.heading if self.reading_heading else self.parts).append(data.replace(BREAK, ""))

    @property
    def title(self) -> str:
        """Return the first heading on one line."""
        return " ".join("".join(self.heading).split())

    @property
    def text(self) -> str:
        """Return the paragraphs, a blank line between them."""
        blocks = ("".join(self.parts)).split(BREAK)
        return "\n\n".join(line for block in blocks if (line := " ".join(block.split())))
