"""What a host remembers of an environment: journal, ledger, bundles, schema and scale, as plain files."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.config.environment import Environment
from deploy.core.errors import Refused
from deploy.core.model import Revoked, Scale, Schema
from deploy.hosts.host import Host
from deploy.state import kept
from deploy.state.bundles import Bundle, Bundles
from deploy.state.folder import moment, now, require_folder
from deploy.state.journal import Intention
from deploy.state.ledger import DAMAGED, LEDGER, Ledger, LedgerFile, served_by

__all__ = [
    "DAMAGED",
    "LEDGER",
    "Bundle",
    "Intention",
    "Ledger",
    "State",
    "moment",
    "now",
    "require_folder",
    "served_by",
    "state_of",
]
SCALE, SCHEMA, REVOKED = "scale.json", "schema.json", "revoked.json"


class State(LedgerFile, Bundles):
    """The state folder of one environment on one host."""

    def scale(self) -> dict[str, int]:
        """Return the numbers of replicas that were chosen in place of the compose file's."""
        then = "remove it: the compose file's numbers hold then, and inv scale sets others"
        chosen = self.value(Scale, SCALE, then)
        return dict(chosen.replicas) if chosen else {}

    def keep_scale(self, scale: Mapping[str, int]) -> None:
        """Remember chosen numbers of replicas; they hold for every release from now on.

        Refuse where a too new file is.
        """
        path = self.folder / SCALE
        self.host.write(path, kept.dump(kept.carry(Scale(replicas=dict(scale)), self.replaced(Scale, path))))

    def schema(self) -> Schema | None:
        """Return the database's schema as the last migration left it.

        None, with a warning, where that cannot be read.
        """
        try:
            return self.value(Schema, SCHEMA)
        except Refused as error:
            then = error.then if error.slug == kept.TOO_NEW else "the next migration writes it again"
            self.warn(f"{self.folder / error.what}; no rollback across it; {then}")
        return None

    def keep_schema(self, schema: Schema) -> None:
        """Remember what the database's schema is now. Refuse where a too new file is."""
        path = self.folder / SCHEMA
        self.host.write(path, kept.dump(kept.carry(schema, self.replaced(Schema, path))))

    def revoked(self) -> dict[str, tuple[str, ...]] | None:
        """Return the fingerprints of revoked secrets by key; None, with a warning, where that cannot be read."""
        try:
            kept_values = self.value(Revoked, REVOKED)
        except Refused as error:
            self.warn(f"{self.folder / error.what}: every secret is taken for revoked; {error.then}")
            return None
        return dict(kept_values.values) if kept_values else {}

    def revoke(self, fingerprints: Mapping[str, str]) -> None:
        """Remember values that must not come back; refuse where those of before cannot be read."""
        before = self.value(Revoked, REVOKED) or Revoked(values={})
        values = {key: tuple(dict.fromkeys((*before.values.get(key, ()), one))) for key, one in fingerprints.items()}
        after = kept.carry(Revoked(values={**before.values, **values}), before)
        self.host.write(self.folder / REVOKED, kept.dump(after), mode=0o600)

    def require_readable(self) -> None:
        """Refuse where a value that a deploy writes over was kept by a newer toolkit, and this one cannot read it."""
        self.replaced(Schema, self.folder / SCHEMA)
        self.replaced(Scale, self.folder / SCALE)


def state_of(at: Environment, host: Host) -> State:
    """Return what a host remembers of an environment."""
    return State(host, at.settings.state_dir)
