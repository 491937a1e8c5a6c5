"""Bring the files of one volume back from a recovery point, once a point of what is there was taken."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.backups import isolated
from deploy.backups.points import Point
from deploy.backups.repository import repository_of
from deploy.backups.restore import require_nothing_interrupted
from deploy.backups.take import backup
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.site.facts import naming_what_serves
from deploy.state import locks


@dataclass(frozen=True)
class RestoredVolume:
    """A volume whose files came back from a point, and the point that was taken of it before."""

    volume: str
    point: Point
    before: str

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {"id": self.point.id, "taken": self.point.taken, "volume": self.volume, "before": self.before}


def restore_volume(at: Environment, wanted: str, name: str) -> RestoredVolume:
    """Write the files that a point holds of a volume over those which are there; files that came since stay.

    A point of what is there is taken before. Raises Refused for a volume that the backup service does not save.
    """
    with naming_what_serves(at):
        require_nothing_interrupted(at)
        repository = repository_of(at)
        saved = isolated.saved_volumes(repository.run.bundle.files["shared.yml"])
        folder = next((folder for folder, volume in saved.items() if volume == name), "")
        if not folder:
            what = f"the backup service saves no volume {name}"
            then = f"--volume with one of: {', '.join(saved.values()) or '(none is saved)'}"
            raise Refused(what, where=repository.run.host.name, then=then, slug="volume-unknown")
        point = repository.fetched(repository.point(wanted))
        before = backup(at, offsite=False).point
        with (
            locks.held([repository.run.host], at.settings.state_dir, "backup.restore", name="dump"),
            console.step(f"restore the files of {name} from {point.id}"),
        ):
            repository.restore_volume(point, folder, name)
        return RestoredVolume(name, point, before)
