"""Text in UTF-16, as PowerShell and Notepad write it, in which no scanner sees anything: copies are looked into."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PLACE = "checkout"  # a folder below, since at the top Trivy passes over some


@contextmanager
def copied(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """Write what is UTF-16 of a checkout as UTF-8 into a folder, below PLACE; yield nothing where none is."""
    texts = {path: text for path in paths if (text := text_of(root / path))}
    if not texts:
        yield ""
        return
    with TemporaryDirectory(prefix="ops-scan-") as folder:
        for path, text in texts.items():
            (copy := Path(folder, PLACE, path)).parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        yield folder


def text_of(path: Path) -> str:
    """Read a file whose first two bytes say that it is UTF-16; empty for any other."""
    try:
        with path.open("rb") as file:
            first = file.read(2)
            is_one = first in (BOM_UTF16_LE, BOM_UTF16_BE)
            return (first + file.read()).decode("utf-16", errors="replace") if is_one else ""
    except OSError:  # which the scan of the others says
        return ""
