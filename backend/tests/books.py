"""Make books to upload."""

from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

TEXT = b"Chapter 1\nIt began.\n\nChapter 2. The end\nIt ended.\n"

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf"/></rootfiles></container>'
)
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf">
<metadata><dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">The  Spine</dc:title></metadata>
<manifest>
<item id="b" href="text/two%20b.xhtml"/><item id="a" href="text/one.xhtml"/><item id="c" href="cover.xhtml"/>
</manifest>
<spine><itemref idref="c"/><itemref idref="a"/><itemref idref="b"/><itemref idref="a"/></spine></package>"""
PAGE = (
    "<html><head><title>no</title><style>p {{}}</style></head>"
    "<body><h1>{0}</h1><p>Of {0}</p><p>&amp; more\n of it</p><script>no</script></body></html>"
)


def epub(**more: bytes) -> bytes:
    """Make a small EPUB, with more entries or with some replaced."""
    entries: dict[str, bytes | str] = {
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": PACKAGE,
        "OPS/cover.xhtml": "<html><body><img src='c.png'/></body></html>",
        "OPS/text/one.xhtml": PAGE.format("One"),
        "OPS/text/two b.xhtml": PAGE.format("Two"),
        **more,
    }
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()
