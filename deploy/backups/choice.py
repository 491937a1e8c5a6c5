"""Choose what `inv backup.restore` restores: a point, a volume, a table, a moment, or a dump from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.backups import dumps, moment, restore, show, tables, volumes, wal
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused


@dataclass(frozen=True)
class Choice:
    """The arguments of `inv backup.restore`; empty where they were not given."""

    point: str
    volume: str = ""
    table: str = ""
    moment: str = ""
    dump: str = ""
    older_schema: bool = False
    ask: bool = True  # the app's own health on a database, before it is swapped

    def restore(self, at: Environment, *, yes: bool, json: bool) -> None:
        """Restore it and show the result; ask before data that people use is replaced."""
        self.require_one()
        how = {"older_schema": self.older_schema, "ask": self.ask}
        if at.settings.asks and not self.table:
            console.confirm(self.question(at.settings.name), yes=yes, word=at.settings.name)
        if self.volume:
            show.restored_volume(volumes.restore_volume(at, self.point, self.volume), json=json)
        elif self.table:
            show.restored_table(tables.restore_table(at, self.point, self.table), json=json)
        elif self.moment:
            show.restored(moment.restore_moment(at, self.moment, **how), json=json)
        elif self.dump:
            show.restored(dumps.restore_dump(at, self.dump, **how), json=json)
        else:
            show.restored(restore.restore(at, self.point, **how), json=json)

    def require_one(self) -> None:
        """Refuse arguments that name nothing to restore, or several things. Pure."""
        if not (self.point or self.dump or self.moment):
            what, then = "no recovery point was named", "inv backup.list names them; or inv backup.restore latest"
            raise Refused(what, where="inv backup.restore", then=then, slug="wrong-usage")
        alone = self.point and (self.dump or self.moment)
        given = {
            "POINT": alone,
            "--at": self.moment,
            "--from": self.dump,
            "--volume": self.volume,
            "--table": self.table,
        }
        named = [name for name, value in given.items() if value]
        if len(named) > 1:
            what = f"{' and '.join(named)} cannot be restored in one go"
            raise Refused(what, where="inv backup.restore", then="type one of them", slug="wrong-usage")
        if self.moment:
            wal.asked_for(self.moment)

    def question(self, name: str) -> str:
        """Return the question, which says what is replaced. Pure."""
        if self.volume:
            return f"the files of {self.volume} become those of {self.point}."
        what = f"the database of {wal.asked_for(self.moment).words}" if self.moment else self.dump or self.point
        return f"{what} takes the place of the database of {name}; writers stop for about a second."
