"""A secret is changed for another, and the old one does not come back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deploy.config import secrets
from deploy.config.secrets import envfile, rotate
from deploy.config.secrets import source as secrets_source
from deploy.config.secrets.rules import Documented
from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.release.revoked import replacements
from deploy.rollout import commands
from deploy.site import rotate as rotation_of
from deploy.site.run import kept_fleet
from deploy.state.store import REVOKED
from tests.support.place import Killed, Place, applied, bundled
from tests.support.site import Site, make_tiny

OLD, NEW, OTHER = "old-Zm3rX0qk9LwT2v", "new-Zm3rX0qk9LwT2v", "other-Zm3rX0qk9LwT2v"
Printed = pytest.CaptureFixture[str]


def put(place: Place, release: str, values: Mapping[str, str]) -> None:
    """Deploy a release with these secrets."""
    place.state.keep(replace(bundled(release), env=secrets.render(values)))
    applied(kept_fleet(place.at, release), "deploy")


def env(place: Place, release: str) -> dict[str, str]:
    return secrets.rendered(place.state.bundle(release).env)


@pytest.fixture
def changed(place: Place) -> Place:
    """A release with an old key, and one with a new key that serves."""
    put(place, "r4", {"KEY": OLD, "OTHER": OTHER})
    put(place, "r5", {"KEY": NEW, "OTHER": f"{OTHER}2"})
    return place


@pytest.mark.parametrize("words", [{}, {"to": "r4"}], ids=["rollback", "rollback --to"])
def test_a_revoked_secret_is_not_brought_back_and_its_key_is_named(
    changed: Place, words: dict[str, Any], capsys: Printed
) -> None:
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    left = {c.name for c in changed.host.engine.observed.values() if c.release == "r4"}
    made: list[str] = []
    ran = changed.host.try_run

    def spy(command: object, **more: object) -> object:
        made.append(str(command))
        return ran(command, **more)  # type: ignore[arg-type]  # handed on as it came

    changed.host.try_run = spy  # type: ignore[method-assign, assignment]  # one place of one test
    assert commands.rollback(changed.at, **words).release == changed.serving() == "r4"
    assert env(changed, "r4") == {"KEY": NEW, "OTHER": OTHER}, "what was not revoked comes back"
    printed = " ".join(capsys.readouterr().err.split())
    assert "KEY of r4 was revoked: it gets the value that r5 has" in printed
    assert OLD not in printed + json.dumps(changed.journal())
    removed = next(line for line in made if line.startswith("docker rm --force"))
    assert left <= set(removed.split()), "containers that hold the old value are not started again"
    assert changed.state.bundle("r4").release.secrets == secrets.version(env(changed, "r4"))


def test_without_a_revocation_old_secrets_come_back_and_no_container_is_removed(changed: Place) -> None:
    commands.rollback(changed.at)
    assert env(changed, "r4") == {"KEY": OLD, "OTHER": OTHER}


def test_where_nothing_can_stand_in_its_place_the_rollback_is_refused(changed: Place) -> None:
    put(changed, "r6", {"OTHER": OTHER})
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    with pytest.raises(Refused, match="KEY of release r4 was revoked, and nothing can stand") as refused:
        commands.rollback(changed.at, to="r4")
    assert (refused.value.slug, changed.serving()) == ("secret-revoked", "r6")
    assert "inv deploy of commit r4" in refused.value.then
    assert env(changed, "r4")["KEY"] == OLD


def test_a_revoked_secret_is_not_brought_back_under_the_name_that_it_had(changed: Place) -> None:
    """A key that was renamed before it was rotated; a word that two keys have is no such secret."""
    put(changed, "r6", {"API_KEY": NEW, "USER": "root"})
    changed.state.revoke({"API_KEY": secrets.fingerprint(OLD)})
    with pytest.raises(Refused, match="KEY of release r4 was revoked, and nothing can stand"):
        commands.rollback(changed.at, to="r4")
    assert changed.serving() == "r6"
    assert replacements({"A": OLD, "B": OTHER}, {"A": NEW, "B": "b"}, changed.state.revoked()) == {"A": NEW}
    word = {"PASSWORD": (secrets.fingerprint("admin"),)}
    assert replacements({"PASSWORD": "admin", "USER": "admin"}, {"PASSWORD": NEW}, word) == {"PASSWORD": NEW}


@pytest.mark.parametrize("gone", ["", "env"], ids=["its record", "its secrets"])
def test_where_the_secrets_of_a_release_are_gone_its_containers_say_which_are_revoked(
    changed: Place, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """A container starts with what it was made with, whatever is left of its release's folder."""
    folder = changed.state.bundle_folder("r4")
    (folder / gone).unlink() if gone else shutil.rmtree(folder)
    own = {c.name: [f"KEY={OLD}", "PATH=/bin"] for c in changed.host.engine.observed.values() if c.release == "r4"}
    monkeypatch.setattr(changed.host, "variables", own)
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    with pytest.raises(Refused, match="KEY of release r4 was revoked"):
        commands.rollback(changed.at)
    assert changed.serving() == "r5"
    changed.host.variables.clear()
    assert commands.rollback(changed.at).release == "r4"


def test_where_revocations_cannot_be_read_no_old_secret_comes_back_and_nothing_is_stopped(
    changed: Place, capsys: Printed
) -> None:
    (changed.state.folder / REVOKED).write_text("{half")
    assert commands.rollback(changed.at).release == "r4"
    assert env(changed, "r4") == {"KEY": NEW, "OTHER": f"{OTHER}2"}
    assert "every secret is taken for revoked" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(Refused, match="cannot be read"):
        changed.state.revoke({"KEY": "x"})


@pytest.mark.parametrize("words", ["", "{half"], ids=["cut to nothing", "cut in half"])
def test_revocations_that_were_cut_off_are_not_taken_for_none(changed: Place, words: str) -> None:
    (changed.state.folder / REVOKED).write_text(words)
    commands.rollback(changed.at)
    assert env(changed, "r4") == {"KEY": NEW, "OTHER": f"{OTHER}2"}


def test_a_damaged_record_of_what_serves_blocks_no_rollback(changed: Place) -> None:
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    (changed.state.bundle_folder("r5") / "release.json").write_text("{half")
    assert commands.rollback(changed.at).release == changed.serving() == "r4"
    assert env(changed, "r4") == {"KEY": NEW, "OTHER": OTHER}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rollback_that_was_killed_while_it_drops_old_secrets_starts_no_container_with_them(
    changed: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever of its changes on the host is the last, before the journal has a line of it."""
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    left = {c.name for c in changed.host.engine.observed.values() if c.release == "r4" and c.colour}
    ran, wrote, changes = changed.host.try_run, changed.host.write, list[str]()

    def change(what: str) -> None:
        changes.append(what)
        if len(changes) == number:
            raise Killed

    def run(command: Any, **more: Any) -> Any:
        if str(command).startswith("docker rm --force"):
            change("docker rm")
        return ran(command, **more)

    def write(path: Path, text: str, **more: Any) -> None:
        if "r4" in path.parts:
            change(path.name)
        wrote(path, text, **more)

    monkeypatch.setattr(changed.host, "try_run", run)
    monkeypatch.setattr(changed.host, "write", write)
    with pytest.raises(Killed):
        commands.rollback(changed.at)
    monkeypatch.undo()
    started: list[str] = []

    def spy(command: Any, **more: Any) -> Any:
        started.append(str(command))
        return ran(command, **more)

    monkeypatch.setattr(changed.host, "try_run", spy)
    assert commands.rollback(changed.at).release == "r4"
    assert not [line for line in started if line.startswith("docker start") and left & set(line.split())]
    assert env(changed, "r4") == {"KEY": NEW, "OTHER": OTHER}


def own_file(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """Make the secrets file that commands use."""
    path = folder / "own.env"
    path.write_text(text)
    path.chmod(0o600)
    source = secrets_source.File(path.name, str(path), "edit it", path)
    monkeypatch.setattr(secrets, "source_of", lambda _: source)
    return path


def test_while_a_rollback_is_interrupted_nothing_is_rotated_so_that_no_resume_brings_it_back(
    changed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_file(tmp_path, monkeypatch, f"KEY={OLD}\n")
    monkeypatch.setattr("sys.stdin", StringIO(NEW))
    changed.host.kill_at(1, "begin", Killed)
    with pytest.raises(Killed):
        commands.rollback(changed.at)
    with pytest.raises(Interrupted, match="rollback of r4 was interrupted"):
        rotation_of.change(changed.at, "KEY")
    assert (path.read_text(), changed.state.revoked()) == (f"KEY={OLD}\n", {})
    commands.resume(changed.at)
    monkeypatch.setattr("sys.stdin", StringIO(NEW))
    rotation_of.change(changed.at, "KEY")
    assert changed.state.revoked() == {"KEY": (secrets.fingerprint(OLD),)}


def test_a_rotation_does_not_undo_what_was_written_while_its_value_was_typed(
    changed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another terminal: an edit, or the rotation of another secret, whose old value would be back."""
    path = own_file(tmp_path, monkeypatch, f"KEY={OLD}\nOTHER={OLD}x\n")
    theirs = f"KEY={OLD}\nOTHER={OTHER}\nMORE=1\n"

    def typed(_: str) -> str:
        path.write_text(theirs)
        return NEW

    monkeypatch.setattr(rotation_of, "typed", typed)
    with pytest.raises(Refused, match=r"own\.env changed while") as refused:
        rotation_of.change(changed.at, "KEY")
    assert (refused.value.slug, refused.value.then.split(" again")[0]) == ("secrets-changed", "inv secrets.rotate KEY")
    assert (path.read_text(), changed.state.revoked()) == (theirs, {})


@pytest.mark.parametrize("step", range(4))
def test_a_rollback_that_was_killed_is_resumed_without_the_revoked_secret(changed: Place, step: int) -> None:
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    changed.host.kill_at(step, "begin", Killed)
    with pytest.raises(Killed):
        commands.rollback(changed.at)
    commands.resume(changed.at)
    assert (changed.serving(), env(changed, "r4")) == ("r4", {"KEY": NEW, "OTHER": OTHER})


def test_a_failed_deploy_goes_back_to_what_served_with_what_it_had(changed: Place) -> None:
    changed.state.revoke({"KEY": secrets.fingerprint(NEW)})
    changed.state.keep(replace(bundled("r6"), env=secrets.render({"KEY": OTHER})))
    changed.host.fail_at(4, lambda: None)
    with pytest.raises(OpsError):
        applied(kept_fleet(changed.at, "r6"), "deploy")
    assert (changed.serving(), env(changed, "r5")["KEY"]) == ("r5", NEW)


def test_a_secret_that_is_revoked_and_still_in_service_stops_no_rollback(changed: Place) -> None:
    changed.state.revoke({"KEY": secrets.fingerprint(OLD)})
    assert replacements({"KEY": OLD}, {"KEY": OLD}, changed.state.revoked()) == {}


@pytest.fixture
def app(tmp_path: Path) -> Site:
    """A checkout of the tiny app with secrets, one of which the app holds twice."""
    site = make_tiny(tmp_path / "site")
    site.write(".env.example", (
        "SIGNING_KEY=<random KEY>\n# optional\nSIGNING_KEY_PREVIOUS=\nSESSION_KEY=<random S>\nMAIL_TOKEN=change-me\n"
        "DB_PASSWORD=<random DB>\nDB=<random DB>\nRESTIC_PASSWORD=<random R>\n"
    ))  # fmt: skip
    own = f"# ours\nSIGNING_KEY='{OLD}'  # theirs\n\nSESSION_KEY={OLD}s\nMAIL_TOKEN={OTHER}\nMAIL_URL=https://m/{OTHER}/x\n"
    own += f"DB_PASSWORD={NEW}\nDB=postgresql://u:{NEW}@db/x\nRESTIC_PASSWORD={NEW}r\n"
    site.write(".env.local", own)
    (site.root / ".env.local").chmod(0o600)
    return site


def held(site: Site) -> dict[str, str]:
    text = (site.root / ".env.local").read_text()
    return dict(re.findall(r"(?m)^(\w+)=[\"']?([^\"'\n]*)", text))


def revoked(site: Site) -> set[str]:
    path = site.state / REVOKED
    assert not path.exists() or path.stat().st_mode & 0o077 == 0
    return set(json.loads(path.read_text())["values"]) if path.exists() else set()


def rotated(site: Site, *words: str, code: int = 0) -> str:
    done = site.inv("secrets.rotate", *words, code=code)
    assert not re.search(OLD + "|" + NEW + "|" + OTHER, done.stdout + done.stderr)
    return " ".join((done.stdout + done.stderr).split())


def test_a_secret_that_the_app_holds_twice_is_rotated_in_two_steps(app: Site) -> None:
    before = held(app)
    printed = rotated(app, "SIGNING_KEY")
    after = held(app)
    assert after == {**before, "SIGNING_KEY": after["SIGNING_KEY"], "SIGNING_KEY_PREVIOUS": OLD}
    assert len(after["SIGNING_KEY"]) == 32
    assert ("inv secrets.rotate SIGNING_KEY --finish" in printed, revoked(app)) == (True, set())
    assert "SIGNING_KEY --finish" in rotated(app, "SIGNING_KEY", code=2), "a value in use would be lost"
    rotated(app, "SIGNING_KEY", "--finish")
    assert held(app) == {**after, "SIGNING_KEY_PREVIOUS": ""}
    assert revoked(app) == {"SIGNING_KEY", "SIGNING_KEY_PREVIOUS"}
    assert "nothing is left to finish" in rotated(app, "SIGNING_KEY", "--finish", code=2)
    assert (app.root / ".env.local").read_text().startswith("# ours\n")


def test_a_secret_that_the_app_holds_once_is_revoked_at_once_and_what_ends_is_reported(app: Site) -> None:
    printed = rotated(app, "SESSION_KEY")
    assert "ends with the switch of the deploy" in printed
    assert held(app)["SESSION_KEY"] != f"{OLD}s"
    assert revoked(app) == {"SESSION_KEY"}


def test_a_secret_of_somebody_else_is_typed_and_changed_wherever_it_stands(app: Site) -> None:
    before = (app.root / ".env.local").read_text()
    assert "somebody else gives its value" in rotated(app, "MAIL_TOKEN", code=2)
    assert (app.root / ".env.local").read_text() == before
    rotation = rotate.rotated(before, "MAIL_TOKEN", "given-to-us-now", pair=False)
    assert rotation.changed == ("MAIL_TOKEN", "MAIL_URL")
    given = {"MAIL_TOKEN": "given-to-us-now", "MAIL_URL": "https://m/given-to-us-now/x"}
    assert rotate.in_clear(rotation.content) == {**rotate.in_clear(before), **given}
    assert set(rotation.revoked.values()) == {OTHER, f"https://m/{OTHER}/x"}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("DB_PASSWORD", "1. inv secrets.edit: the new value, wherever the old one stands (DB_PASSWORD, DB)"),
        ("RESTIC_PASSWORD", "another one would open none of them"),
        ("NOPE", "there is no secret `NOPE`"),
    ],
)
def test_what_something_else_holds_too_is_not_changed_and_the_order_is_reported(
    app: Site, key: str, words: str
) -> None:
    before = (app.root / ".env.local").read_bytes()
    assert words in rotated(app, key, code=2)
    assert ((app.root / ".env.local").read_bytes(), revoked(app)) == (before, set())


@pytest.mark.parametrize("value", ['it\'s "so" \\n #1 $x', "two\nlines", "plain"])
def test_any_value_can_be_given(value: str) -> None:
    rotation = rotate.rotated("A=1\nB='x' # y\nC=2", "B", value, pair=False)
    assert envfile.values(envfile.parse(rotation.content)) == {"A": "1", "B": value, "C": "2"}


@pytest.mark.parametrize(
    "new", [f"{OLD}2", "it's", 'a"b', "two\nlines", "x #y z", "line\r", "back\\slash", "\\n"], ids=repr
)
@pytest.mark.parametrize("pair", [False, True])
def test_a_value_is_written_as_given_and_nothing_but_what_holds_the_old_one_changes(new: str, pair: bool) -> None:
    before = f"# {OLD} is ours\nKEY={OLD}\nMAIL='to {OLD}, please'\nURL=https://x/{OLD}/y\nOTHER='it'\n"
    rotation = rotate.rotated(before, "KEY", new, pair=pair)
    held = {"KEY": new, "MAIL": f"to {new}, please", "URL": f"https://x/{quote(new, safe='')}/y", "OTHER": "it"}
    kept = {"KEY": new, "MAIL": f"to {OLD}, please", "URL": f"https://x/{OLD}/y", "OTHER": "it", "KEY_PREVIOUS": OLD}
    assert rotate.in_clear(rotation.content.replace("\r\n", "\n").replace("\r", "\n")) == (kept if pair else held)
    assert rotation.changed == (("KEY", "KEY_PREVIOUS") if pair else ("KEY", "MAIL", "URL"))
    assert rotation.content.startswith(f"# {OLD} is ours\n")


def test_a_url_that_has_the_old_value_in_its_own_writing_gets_the_new_one() -> None:
    before = "TOKEN=left/right/left\nURL=https://x/?t=left%2Fright%2Fleft&raw=left/right/left\n"
    after = rotate.rotated(before, "TOKEN", "a/b", pair=False)
    assert rotate.in_clear(after.content) == {"TOKEN": "a/b", "URL": "https://x/?t=a%2Fb&raw=a%2Fb"}


def test_the_value_that_is_there_is_no_new_one() -> None:
    with pytest.raises(Refused, match="that is the value that KEY has"):
        rotate.rotated(f"KEY={OLD}\n", "KEY", OLD, pair=False)


def test_a_value_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envfile, "as_line", lambda key, value: f"{key}={value}\n")
    with pytest.raises(Refused, match="KEY would not be read back") as refused:
        rotate.rotated("KEY=old\nB=1\n", "KEY", "two\nB=lines", pair=False)
    assert (refused.value.slug, "lines" in str(refused.value)) == ("secret-not-writable", False)


@pytest.mark.parametrize("given", [f"{NEW}\r\n", f"\ufeff{NEW}\n", NEW, f"{NEW}\n"], ids=repr)
def test_a_value_from_a_file_is_without_what_the_file_adds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(given))
    assert rotation_of.typed("KEY") == NEW


def test_a_password_that_a_url_has_in_its_own_writing_is_shared_with_it() -> None:
    own = {"APP": "p@ss/word", "DB": "postgresql://u:p%40ss%2Fword@db/x", "RAW": "a%41b", "URL": "amqp://u:a%41b@mq"}
    for key, holders in (("APP", "(APP, DB)"), ("RAW", "(RAW, URL)")):
        with pytest.raises(Refused, match=re.escape(holders)):
            rotate.require_rotatable(key, own, Documented(()))
    rotate.require_rotatable("EMPTY", {"EMPTY": "", "B": "1"}, Documented(("EMPTY",)))


def test_the_rest_of_a_key_without_quotes_is_no_name_to_rotate() -> None:
    own = envfile.values(envfile.parse(f"KEY={OLD}\nPEM=-----BEGIN PRIVATE KEY-----\nMIIEvQIBAD\npQhMtz1s==\n"))
    for key in ("NOPE", "MIIEvQIBAD"):
        with pytest.raises(Refused, match="there is no secret") as refused:
            rotate.require_rotatable(key, own, Documented(()))
        assert refused.value.then == "inv secrets.rotate with one of: KEY, PEM"
