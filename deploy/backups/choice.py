"""What of a recovery point, or of a dump from elsewhere, is restored: one of four things."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.backups import dumps, restore, show, tables, volumes
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused


@dataclass(frozen=True)
class Choice:
    """What a person typed behind `inv backup.restore`; empty where they did not."""

    point: str
    volume: str = ""
    table: str = ""
    dump: str = ""
    older_schema: bool = False
    ask: bool = True  # the app's own health on a database, before it is swapped

    def restore(self, at: Environment, *, yes: bool, json: bool) -> None:
        """Restore it, and show what came of it; where data that people use is replaced a person is asked before."""
        self.require_one()
        how = {"older_schema": self.older_schema, "ask": self.ask}
        if at.settings.asks and not self.table:
            console.confirm(self.question(at.settings.name), yes=yes, word=at.settings.name)
        if self.volume:
            show.restored_volume(volumes.restore_volume(at, self.point, self.volume), json=json)
        elif self.table:
            show.restored_table(tables.restore_table(at, self.point, self.table), json=json)
        elif self.dump:
            show.restored(dumps.restore_dump(at, self.dump, **how), json=json)
        else:
            show.restored(restore.restore(at, self.point, **how), json=json)

    def require_one(self) -> None:
        """Refuse what names nothing to restore, or several things. Pure."""
        if not (self.point or self.dump):
            what, then = "no recovery point was named", "inv backup.list names them; or inv backup.restore latest"
            raise Refused(what, where="inv backup.restore", then=then, slug="wrong-usage")
        given = {"POINT": self.point and self.dump, "--from": self.dump, "--volume": self.volume, "--table": self.table}
        named = [name for name, value in given.items() if value]
        if len(named) > 1:
            what = f"{' and '.join(named)} cannot be restored in one go"
            raise Refused(what, where="inv backup.restore", then="type one of them", slug="wrong-usage")

    def question(self, name: str) -> str:
        """Say what is replaced. Pure."""
        if self.volume:
            return f"the files of {self.volume} become those of {self.point}."
        return f"{self.dump or self.point} takes the place of the database of {name}; writers stop for about a second."
