"""The edge's folder on a host: every generation of its configuration, and links to the ones that count."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError
from deploy.core.model import WHOLE
from deploy.edge import frame, nginx
from deploy.edge.frame import HEADERS, LOGINS, PRIVATE, PROXY, PUBLIC, File, Files
from deploy.hosts.host import Host
from deploy.state import kept
from deploy.state.folder import Folder

# links in the folder: the generation that nginx reads, and the one that it was last seen to serve
CURRENT, PROVEN = "current", "proven"
RECORD = "route.json"
# what the toolkit writes for each generation, besides frame and routes
GENERATED = ("inner.conf", "upstreams.conf", RECORD)
KEPT_GENERATIONS = 10


@dataclass(frozen=True)
class EdgeFolder:
    """The edge's folder on one host.

    A `place` in it is one of its links, or `generations/3`.
    """

    settings: Settings
    host: Host

    @cached_property
    def path(self) -> Path:
        """Where it is on the host."""
        return edge_path(self.settings)

    def write(self, files: Files, generation: int, route: nginx.Route) -> None:
        """Write one generation next to the current one, each file with its mode; nothing serves it yet."""
        place = self.path / generation_folder(generation)
        self.host.remove(place)  # a failed switch may have left its own under this number
        generated = nginx.generated(generation, route) if files else {}
        texts = {**generated, RECORD: self.with_frame(route, files).dump(generation)}
        every = {**files, **{name: File(text) for name, text in texts.items()}}
        self.host.write_all({place / name: (file.text, file.mode) for name, file in every.items()})

    def with_frame(self, route: nginx.Route, files: Files) -> nginx.Route:
        """Add to a route its frame, and the last generation with another one: going back may need that."""
        modes = {name: file.mode for name, file in files.items() if name not in PUBLIC}
        route = replace(route, frame=frame.name_of(files), former=0, modes=modes)
        proven = self.read(PROVEN)
        if not proven:
            return route
        same_frame = proven.route.frame == route.frame
        return replace(route, former=proven.route.former if same_frame else proven.number)

    def stage(self, files: Files, generation: int, route: nginx.Route) -> int:
        """Write one generation; on a full disk return an earlier one that serves the same: going back needs no room."""
        try:
            self.write(files, generation, route)
        except OSError:
            route = replace(route, frame=frame.name_of(files))
            records = filter(None, (self.read(generation_folder(number)) for number in self.numbers()))
            earlier = [record.number for record in records if record.route.served == route.served]
            if not earlier:
                raise
            return max(earlier)
        return generation

    def read(self, place: str) -> nginx.Generation | None:
        """Read a generation's number and what it serves; None where that was forgotten or cannot be read.

        Where a newer toolkit wrote it, nginx's own files say it, with a warning: they lack what this toolkit cannot
        know.
        """
        try:
            if record := nginx.read_route(self.text(place, RECORD)):
                return record
        except kept.NewerFormat:
            newer = kept.too_new(self.path / place / RECORD)
            warning = f"{newer.where}: {newer.what}; what nginx reads stands in for it; {newer.then}"
            Folder(self.host, self.path / place).warn(warning)
        generated = nginx.read_generated(self.text(place, "inner.conf"), self.text(place, "upstreams.conf"))
        if not generated:
            return None
        number, route = generated
        return nginx.Generation(number, replace(route, frame=frame.name_of(self.files(place, route))))

    def text(self, place: str, name: str) -> str:
        """Read one file of a generation; empty where there is none, or it cannot be read."""
        with suppress(OSError):
            return self.host.read(self.path / place / name) or ""
        return ""

    def route(self, generation: int | None = None) -> nginx.Route:
        """Return what a generation serves, or the proven one; an empty route when it is forgotten or damaged."""
        return self.route_at(PROVEN if generation is None else generation_folder(generation))

    def route_at(self, place: str) -> nginx.Route:
        """Return the same of a place."""
        record = self.read(place)
        return record.route if record else nginx.Route()

    def proven(self) -> tuple[dict[str, File], nginx.Route]:
        """Return the generation that serves: its files, frame and routes, and what it serves.

        Raises OpsError where that is lost.
        """
        record = self.read(PROVEN)
        if not record:
            raise OpsError(
                "no file says any more what the edge serves",
                where=f"{self.host.name}: {self.path / PROVEN}",
                then="inv deploy of another commit writes the next generation",
                slug="edge-record-lost",
            )
        return self.files(PROVEN, record.route), record.route

    def unproven(self) -> int:
        """Return the generation that nginx is to read but was never seen to serve; 0 when there is none."""
        current, proven = self.host.concurrently(
            *(partial(self.host.readlink, self.path / link) for link in (CURRENT, PROVEN))
        )
        return int(Path(current).name) if current and proven and current != proven else 0

    def require_readable(self) -> None:
        """Refuse where a newer toolkit wrote what the edge serves, and this one cannot read it."""
        path = self.path / PROVEN / RECORD
        try:
            nginx.read_route(self.host.read(path))
        except kept.NewerFormat:
            raise kept.too_new(path) from None
        except OSError:
            return  # damaged is not too new

    def files(self, place: str, route: nginx.Route) -> dict[str, File]:
        """Read the files of a generation with their modes, but for those that the toolkit writes for each.

        One whose mode is written down nowhere may hold a key: nobody else reads it.
        """
        every = sorted(self.host.listdir(self.path / place))
        names = [name for name in every if name not in GENERATED and not name.startswith(".")]
        read = self.host.concurrently(*(partial(self.host.read, self.path / place / name) for name in names))
        texts = dict(zip(names, read, strict=True))
        public = (HEADERS, LOGINS, PROXY)
        modes: Mapping[str, int] = {
            **dict.fromkeys(public, File.mode), **route.modes, **dict.fromkeys(PUBLIC, File.mode),
        }  # fmt: skip
        return {name: File(text, modes.get(name, PRIVATE)) for name, text in texts.items() if text is not None}

    def read_frame(self, fingerprint: str = "", *, back: bool = False) -> dict[str, File]:
        """Return the frame that stands, or an earlier one that has the fingerprint; render it where there is neither.

        What is rendered is what was planned; raises OpsError where that was edited since. Going `back` no render must
        fail: the frame that stands is kept, with a warning.
        """
        frames = self.frames()
        for name, place in frames:
            if fingerprint in ("", WHOLE, name):
                return self.frame_files(place)
        if back and frames:
            console.warn(f"{self.host.name}: the frame that was accepted is gone; the one that stands is kept")
            _, standing = frames[0]
            return self.frame_files(standing)
        rendered = frame.render(self.settings)
        if not back and fingerprint not in ("", WHOLE, frame.fingerprint(rendered)):
            raise OpsError(
                "the edge's frame is no longer what was planned: its template or the settings were changed since",
                where=f"{self.settings.nginx}/frame.conf.j2",
                then="inv plan, then inv deploy",
                slug="edge-frame-changed",
            )
        return rendered

    def frames(self) -> list[tuple[str, str]]:
        """Return the frames that are kept, by fingerprint and place, the one that stands first."""
        proven = self.read(PROVEN)
        if not proven:
            return []
        places = [PROVEN, *map(generation_folder, self.earlier_frames(proven.route))]
        routes = ((place, self.route_at(place)) for place in places)
        return [(route.frame, place) for place, route in routes if route.frame not in ("", WHOLE)]

    def frame_files(self, place: str) -> dict[str, File]:
        """Read the frame of a generation."""
        return frame.own(self.files(place, self.route_at(place)))

    def earlier_frames(self, route: nginx.Route) -> list[int]:
        """Return the last generation of each frame before, newest first; one of them may have been cut off."""
        numbers: list[int] = []
        while route.former and route.former not in numbers and len(numbers) < KEPT_GENERATIONS:
            numbers.append(route.former)
            route = self.route(route.former)
        return numbers

    def numbers(self) -> list[int]:
        """List the numbers of the generations that are kept, newest first."""
        names = self.host.listdir(self.path / "generations")
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def forget(self, generation: int) -> None:
        """Remove generations that are long past, but for the last one of each frame before."""
        past = [number for number in self.numbers() if number <= generation - KEPT_GENERATIONS]
        current = self.read(generation_folder(generation)) if past else None
        needed = self.earlier_frames(current.route) if current else []
        for number in past:
            if number not in needed:
                self.host.remove(self.path / generation_folder(number))


def edge_path(settings: Settings) -> Path:
    """Return where the edge's configuration lives on the host.

    Mounted into the edge as a folder, since a renamed file is not seen.
    """
    return settings.state_dir / "edge"


def generation_folder(generation: int) -> str:
    """Return one generation's place, relative to the edge's folder."""
    return f"generations/{generation}"
