"""Where secrets come from on good days and bad nights: real encryption, real commands, a real editor's place."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage  # type: ignore[import-untyped]  # it has no types
import pytest

from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.config.secrets import age
from deploy.config.secrets.edit import edit
from deploy.config.secrets.source import AgeFile
from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost
from deploy.insight.secrets import ask, examine
from tests.support import samples
from tests.support.site import Site, make_tiny

HERE = LocalHost()
VALUE = "Zm3rX0qk9LwT2vBn"
UNQUOTED = "PEM=-----BEGIN KEY-----\\nMIIEvQIBADANBgkq\\nMIIEpQhMtz1s==\\n"  # for printf
Printed = pytest.CaptureFixture[str]


class Team:
    """A checkout whose secrets are encrypted, and people with keys of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {name: age.make_identity(folder / f"{name}.key", HERE) for name in ("alice", "bob", "carol")}

    def settings(self, who: str, *recipients: str) -> Settings:
        own = {"file": ".env.prod.age", "identity": f"{who}.key", "recipients": {r: self.keys[r] for r in recipients}}
        return samples.settings(self.folder, secrets=own)

    def write(self, who: str, *recipients: str, text: str = f"A={VALUE}\n") -> Path:
        secrets.source_of(self.settings(who, *recipients)).write(text, HERE)
        return self.folder / ".env.prod.age"


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def editor(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make a shell script the editor; $1 is the file."""
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(path))


def test_each_recipient_reads_an_encrypted_file_and_nobody_else(team: Team) -> None:
    file = team.write("alice", "alice", "bob")
    assert VALUE not in file.read_text()
    for who in ("alice", "bob"):
        assert secrets.read(team.settings(who, "alice")) == {"A": VALUE}
    with pytest.raises(Refused, match="encrypted to others") as refused:
        secrets.read(team.settings("carol", "alice"))
    assert (refused.value.slug, "inv secrets.identity" in refused.value.then) == ("secrets-for-others", True)


def test_the_marks_of_a_merge_conflict_are_called_so_and_two_files_in_one_are_refused(team: Team) -> None:
    """As git leaves them; whoever keeps both sides would lose one without a word."""
    ours = team.write("alice", "alice").read_text()
    file = team.write("alice", "alice", text=f"A={VALUE}\nB=1\n")
    theirs = file.read_text()
    begin, *own, end = ours.splitlines(keepends=True)
    conflict = [begin, "<<<<<<< HEAD\n", *own, "=======\n", *theirs.splitlines(keepends=True)[1:-1], ">>>>>>> b\n", end]
    for text, words in (("".join(conflict), "git checkout --theirs"), (ours + theirs, "git log")):
        file.write_text(text)
        with pytest.raises(Refused) as refused:
            secrets.read(team.settings("alice", "alice"))
        assert (refused.value.slug, words in refused.value.then) == ("secrets-damaged", True)
    file.write_bytes(ours.replace("\n", "\r\n").encode())
    assert secrets.read(team.settings("alice", "alice")) == {"A": VALUE}, "as git writes it on Windows"


def test_an_identity_that_is_missing_open_or_none_is_named(team: Team) -> None:
    team.write("alice", "alice")
    (team.folder / "bob.key").chmod(0o644)
    (team.folder / "carol.key").write_text("hello\n")
    for who, slug in (("dave", "identity-missing"), ("bob", "identity-invalid"), ("carol", "identity-invalid")):
        with pytest.raises(Refused) as refused:
            secrets.read(team.settings(who, "alice"))
        assert (refused.value.slug, f"{who}.key" in str(refused.value)) == (slug, True)


def test_a_damaged_file_is_not_taken_for_no_secrets(team: Team) -> None:
    file = team.write("alice", "alice")
    whole = file.read_text()
    for damaged in ("", whole[:-90], whole.replace("Y", "Z", 3), "A=1\n"):
        file.write_text(damaged)
        with pytest.raises(Refused) as refused:
            secrets.read(team.settings("alice", "alice"))
        assert refused.value.slug in ("secrets-damaged", "secrets-for-others"), damaged


@pytest.mark.parametrize(
    "text", ["{whole}NEW=2\n", "# recipients: alice and ci\nA=1\n", "A=1 # recipients: {{}}", "A=1\n# recipients: []\n"]
)
def test_a_file_that_age_itself_wrote_is_read_whole_and_says_nothing_of_its_recipients(team: Team, text: str) -> None:
    file, source = team.write("alice", "alice"), secrets.source_of(team.settings("alice", "alice"))
    assert isinstance(source, AgeFile)
    whole = age.decrypt(file, age.read_identity(team.folder / "alice.key", [], ""), "")
    content = text.format(whole=whole)
    file.write_bytes(pyrage.encrypt(content.encode(), [age.recipient("alice", team.keys["alice"])], armored=True))
    assert source.decrypted() == (content, {})
    assert verdicts(team.settings("alice", "alice"))["recipients"] == ("FAIL", "alice cannot read it yet")
    source.write(content, HERE)
    assert source.encrypted_to() == {"alice": team.keys["alice"]}


def test_a_folder_is_no_encrypted_file(team: Team) -> None:
    (team.folder / ".env.prod.age").mkdir()
    with pytest.raises(Refused, match="Is a directory"):
        secrets.read(team.settings("alice", "alice"))


@pytest.mark.parametrize("content", ["AGE-SECRET-KEY-1XX\n", "hello\n", ""])
def test_a_damaged_identity_has_no_public_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(Refused, match="holds no key that can be used") as refused:
        age.make_identity(tmp_path / "key", HERE)
    assert refused.value.slug == "identity-invalid"
    assert (tmp_path / "key").read_text() == content


def test_nobody_locks_himself_out(team: Team) -> None:
    file = team.write("alice", "alice")
    before = file.read_bytes()
    with pytest.raises(Refused, match="your own key is not among"):
        team.write("alice", "bob")
    assert file.read_bytes() == before


def test_an_edit_is_encrypted_to_all_and_its_place_is_private_and_gone(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    team.write("alice", "alice", "bob")
    editor(team.folder, monkeypatch, f'stat -c "%a %n" "$1" "$(dirname "$1")" >{team.folder}/seen; echo "B=1" >>"$1"')
    edit(team.settings("alice", "alice", "bob"), HERE)
    assert secrets.read(team.settings("bob", "bob")) == {"A": VALUE, "B": "1"}
    (mode, path), (folder_mode, folder) = (line.split() for line in (team.folder / "seen").read_text().splitlines())
    assert (mode, folder_mode, Path(folder).exists()) == ("600", "700", False)
    assert path.startswith("/dev/shm/"), "there is a tmpfs here"  # noqa: S108  # compared with
    printed = capsys.readouterr()
    assert "B changed, encrypted to alice, bob" in printed.err
    assert VALUE not in f"{printed}"


@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_an_edit_whose_terminal_closes_leaves_no_secret_in_clear(
    team: Team, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As when a connection over SSH breaks off while the editor is open."""
    team.write("alice", "alice")
    editor(team.folder, monkeypatch, f'echo "$1" >{team.folder}/seen; kill -{name} $PPID; sleep 10')

    def run() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run in the background, where both are ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        edit(team.settings("alice", "alice"), HERE)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(20)
    assert process.exitcode not in (None, 0)
    assert not Path((team.folder / "seen").read_text().strip()).parent.exists()


def test_whoever_is_removed_cannot_read_what_is_written_then_and_what_to_rotate_is_named(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    team.write("alice", "alice", "bob")
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    left = team.settings("alice", "alice", "carol")
    assert verdicts(left)["recipients"] == ("FAIL", "bob can still read it\ncarol cannot read it yet")
    edit(left, HERE)
    with pytest.raises(Refused, match="encrypted to others"):
        secrets.read(team.settings("bob", "alice"))
    assert secrets.read(team.settings("carol", "carol")) == {"A": VALUE}
    assert "bob cannot read it any more" in (printed := " ".join(capsys.readouterr().err.split()))
    assert "inv secrets.rotate" in printed
    assert verdicts(left)["recipients"][0] == "PASS"
    before = (team.folder / ".env.prod.age").read_bytes()
    edit(left, HERE)
    assert "nothing changed" in capsys.readouterr().err
    assert (team.folder / ".env.prod.age").read_bytes() == before


@pytest.mark.parametrize(
    ("script", "slug"),
    [
        ('echo "B=\'it" >>"$1"', "confirmation-missing"),
        (': >"$1"', "confirmation-missing"),
        ('echo B=1 >>"$1"; exit 3', "editor-failed"),
    ],
)
def test_an_edit_that_fails_changes_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch, script: str, slug: str
) -> None:
    file = team.write("alice", "alice")
    before = file.read_bytes()
    editor(team.folder, monkeypatch, script)
    with pytest.raises(Refused) as refused:
        edit(team.settings("alice", "alice"), HERE)
    assert (refused.value.slug, file.read_bytes()) == (slug, before)


def test_recipients_that_cannot_be_written_to_are_refused_before_anybody_types(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.write("alice", "alice")
    editor(team.folder, monkeypatch, f'echo B=1 >>"$1"; touch {team.folder}/opened')
    with pytest.raises(Refused, match="your own key is not among"):
        edit(team.settings("alice", "bob"), HERE)
    assert not (team.folder / "opened").exists(), "what is typed there would be lost"


def test_an_edit_does_not_undo_what_others_wrote_meanwhile(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    file = team.write("alice", "alice")
    theirs = team.folder / "theirs.age"
    own = file.read_bytes()
    theirs.write_bytes(team.write("alice", "alice", text=f"A={VALUE}\nTHEIRS=1\n").read_bytes())
    file.write_bytes(own)
    editor(team.folder, monkeypatch, f'cp {theirs} {file}; echo B=1 >>"$1"')
    with pytest.raises(Refused, match="changed while") as refused:
        edit(team.settings("alice", "alice"), HERE)
    assert (refused.value.slug, file.read_bytes()) == ("secrets-changed", theirs.read_bytes())


def test_an_edit_names_no_part_of_a_key_without_quotes(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    team.write("alice", "alice")
    editor(team.folder, monkeypatch, f"printf '{UNQUOTED}B=1\\n' >>\"$1\"")
    edit(team.settings("alice", "alice"), HERE)
    assert "B, PEM changed" in (printed := capsys.readouterr().err)
    assert "MIIE" not in printed


def test_a_link_to_the_secrets_stays_one(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    file = team.write("alice", "alice")
    file.rename(shared := team.folder / "shared.age")
    file.symlink_to(shared)
    editor(team.folder, monkeypatch, 'echo B=1 >>"$1"')
    edit(team.settings("alice", "alice"), HERE)
    assert file.is_symlink()
    assert secrets.read(team.settings("alice", "alice")) == {"A": VALUE, "B": "1"}


@pytest.mark.parametrize("words", ["'no end", "ed 'x"])
def test_an_editor_that_is_no_command_line_is_named(team: Team, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    team.write("alice", "alice")
    monkeypatch.setenv("VISUAL", words)
    with pytest.raises(Refused, match="cannot be run: no closing quotation"):
        edit(team.settings("alice", "alice"), HERE)


def test_an_editor_that_is_not_there_is_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    team.write("alice", "alice")
    monkeypatch.setenv("VISUAL", "no-such-editor --wait")
    with pytest.raises(Refused, match="`no-such-editor` cannot be run: No such file"):
        edit(team.settings("alice", "alice"), HERE)


def test_a_plain_file_becomes_an_encrypted_one(team: Team) -> None:
    (team.folder / ".env.prod").write_text(f"A={VALUE}\n")
    assert secrets.create(team.settings("alice", "alice"), HERE)
    assert secrets.read(team.settings("alice", "alice")) == {"A": VALUE}
    assert not secrets.create(team.settings("alice", "alice"), HERE)
    assert isinstance(secrets.source_of(team.settings("alice", "alice")), AgeFile)


def printing(folder: Path, line: str, within: float = 5) -> Settings:
    """Settings whose secrets a command prints."""
    return samples.settings(folder, secrets={"command": line, "within": within})


def test_what_a_command_prints_is_parsed_as_the_file_is(tmp_path: Path) -> None:
    settings = printing(
        tmp_path, f"printf '\\357\\273\\277A=\"two\\\\nlines\"\\r\\nB={VALUE}\\r\\nNOTIFY_URLS=json://x\\n'; pwd >at"
    )
    assert secrets.read(settings) == {"A": "two\nlines", "B": VALUE}
    assert secrets.own(settings, "NOTIFY_URLS") == "json://x"
    assert (tmp_path / "at").read_text().strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("true", "printed no NAME=value"),
        ("echo; echo '# nothing'", "printed no NAME=value"),
        (f"echo A={VALUE}; echo sealed, A={VALUE} >&2; exit 2", "ended with 2:\n    sealed, A=***"),
        (f"echo TOKEN={VALUE} >&2; exit 2", "ended with 2:\n    TOKEN=***"),
        ("echo $VAULT_TOKEN is expired >&2; exit 1", "ended with 1:\n    *** is expired"),
        ("no-such-program", "ended with 127"),
        ("printf 'A=\\377\\n'", "not UTF-8"),
        (f'echo "A=\'{VALUE}"', "line 1"),
    ],
)
def test_a_command_that_fails_is_refused_without_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.CAESIJ")
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        secrets.read(printing(tmp_path, line))
    assert not re.search(rf"{VALUE}|hvs\.", str(refused.value))


@pytest.mark.parametrize("line", ["sleep 60", "sleep 60 & echo A=1", "trap '' TERM; sleep 60 & wait; sleep 60"])
def test_a_command_that_hangs_is_refused_in_time(tmp_path: Path, line: str) -> None:
    began = time.monotonic()
    with pytest.raises(Refused, match=r"had not ended after 0\.5 s"):
        secrets.read(printing(tmp_path, line, within=0.5))
    assert time.monotonic() - began < 8


def test_what_a_command_warns_of_is_shown_without_a_value(tmp_path: Path, capsys: Printed) -> None:
    assert secrets.read(printing(tmp_path, f"echo deprecated {VALUE} >&2; echo A={VALUE}")) == {"A": VALUE}
    assert "deprecated ***" in (printed := capsys.readouterr().err)
    assert VALUE not in printed


def test_what_a_command_reads_is_changed_elsewhere(tmp_path: Path) -> None:
    settings = printing(tmp_path, "echo A=1")
    for change in (edit, secrets.create):
        with pytest.raises(Refused, match="only reads them"):
            change(settings, HERE)


@pytest.mark.parametrize(
    "script",
    [
        "set -x; PASS=hunter2hunter2; exit 1",
        """echo '{"errors": [], "DB_PASSWORD": "hunter2hunter2"}' >&2; exit 1""",
        "echo 'password: hunter2hunter2' >&2; exit 1",
        "echo 'no answer of postgres://app:hunter2hunter2@db/app' >&2; exit 1",
        "echo 'Authorization: Bearer hunter2hunter2' >&2; exit 1",
        """printf 'A="hunter2hunter2\nB=1\n'; echo 'cannot go on after hunter2hunter2' >&2; exit 1""",
    ],
)
def test_no_form_in_which_a_command_prints_a_secret_shows_it(tmp_path: Path, script: str) -> None:
    """A shell that traces, JSON, YAML, a URL, a header, an output that was cut off in quotes."""
    with pytest.raises(Refused) as error:
        secrets.read(printing(tmp_path, script))
    assert "ended with 1:" in error.value.what
    assert "hunter2" not in error.value.what


def test_what_a_command_says_of_itself_is_shown(tmp_path: Path) -> None:
    words = "Error making API request. URL: GET http://127.0.0.1:8200/v1/a Code: 503. Errors: Vault is sealed"
    with pytest.raises(Refused, match=re.escape(words)):
        secrets.read(printing(tmp_path, f"echo '{words}' >&2; exit 2"))


def verdicts(settings: Settings) -> dict[str, tuple[str, str]]:
    """What the check says: asked -> result and evidence."""
    return {check.asked: (check.word, check.evidence) for check in examine(Environment(settings, HERE, (HERE,)))}


@pytest.fixture
def app(tmp_path: Path) -> Site:
    """A checkout of the tiny app, which gets secrets."""
    site = make_tiny(tmp_path / "site")
    site.replace("docker/compose.yml", "    read_only: true", "    env_file: [.env]\n    read_only: true")
    site.write(".env.example", "SIGNING_KEY=<random KEY>\nMAIL_PASSWORD=change-me\n# optional\nSENTRY_DSN=\n")
    site.write("app/settings.py", "signing_key = mail_password = sentry_dsn = 1\n")
    site.commit()
    return site


def check(site: Site, own: str, code: int) -> dict[str, Any]:
    """Run the check on a file; return its rows."""
    site.write(".env.local", own)
    (site.root / ".env.local").chmod(0o600)
    done = site.inv("secrets.check", "--json", code=code)
    assert not re.search(r"hunter2|changethis|Zm3r", done.stdout + done.stderr)
    return {row["asked"]: row for row in json.loads(done.stdout)}


def test_the_check_passes_what_is_well(app: Site) -> None:
    rows = check(app, f"SIGNING_KEY={VALUE}\nMAIL_PASSWORD={VALUE}x\nSENTRY_DSN=\n", code=0)
    assert {row["result"] for row in rows.values()} == {"PASS"}
    assert rows["missing"]["evidence"] == "3 documented"
    assert rows["weak"]["evidence"] == "2 passwords, keys and tokens"


def test_the_check_names_what_is_missing_weak_a_placeholder_unused_and_nowhere_set(app: Site) -> None:
    app.replace("docker/compose.yml", "    read_only: true", '    labels: {a: "$NOWHERE"}\n    read_only: true')
    app.replace("docker/compose.yml", 'BEHAVIOUR: "$', 'SIGNING_KEY: , API_KEY: , BEHAVIOUR: "$')
    rows = check(app, "SIGNING_KEY=hunter2\nOLD_TOKEN=six red boats at dawn\nSMTP_PASSWORD=changethis\n", code=3)
    assert {asked: row["result"] for asked, row in rows.items()} == {
        "source": "PASS", "missing": "FAIL", "placeholders": "FAIL", "weak": "FAIL", "used": "FAIL",
        "compose files": "FAIL",
    }  # fmt: skip
    evidence = {asked: row["evidence"] for asked, row in rows.items()}
    assert evidence["missing"] == "MAIL_PASSWORD"
    assert evidence["placeholders"] == "SMTP_PASSWORD"
    assert (evidence["weak"], rows["weak"]["next"]) == ("SIGNING_KEY", "inv secrets.rotate SIGNING_KEY")
    assert (evidence["used"], rows["used"]["advice"]) == ("no file that git has names OLD_TOKEN, SMTP_PASSWORD", True)
    assert "$NOWHERE is not set" in evidence["compose files"]
    assert "API_KEY has no value" in evidence["compose files"]
    assert "SIGNING_KEY" not in evidence["compose files"]
    assert all(row["next"] for row in rows.values() if row["result"] == "FAIL")


def test_secrets_that_nobody_gets_are_named(app: Site) -> None:
    app.replace("docker/compose.yml", "    env_file: [.env]\n", "")
    rows = check(app, f"SIGNING_KEY={VALUE}\nMAIL_PASSWORD={VALUE}x\n", code=3)
    assert (rows["used"]["result"], rows["used"]["advice"]) == ("FAIL", False)


@pytest.mark.parametrize("getting", [True, False])
def test_no_part_of_a_key_without_quotes_is_shown_or_on_a_command_line(
    app: Site, monkeypatch: pytest.MonkeyPatch, getting: bool
) -> None:
    own = {"SIGNING_KEY": VALUE, "PEM": "-----BEGIN KEY-----", "MIIEvQIBADANBgkq": "", "MIIEpQhMtz1s": "="}
    settings = samples.settings(app.root)
    monkeypatch.setattr("deploy.insight.secrets.desired.model", lambda *_: SimpleNamespace(
        services=[SimpleNamespace(name="web", has_secrets=getting)], left_out=(), env_files=(), folders=()
    ))  # fmt: skip
    monkeypatch.setattr("deploy.insight.secrets.compose.left_out", lambda *_: ())
    ran: list[str] = []
    here = LocalHost()
    exchange = here.exchange

    def spy(command: Any, **more: Any) -> Any:
        ran.append(str(command))
        return exchange(command, **more)

    monkeypatch.setattr(here, "exchange", spy)
    source = secrets.source_of(settings)
    first, _ = ask(Environment(settings, here, (here,)), source, own)
    assert "MIIE" not in f"{first}{ran}"
    names = "no file that git has names PEM" if getting else "no service has an env_file: nobody gets SIGNING_KEY, PEM"
    assert first.evidence == names
    assert (len(ran), "SIGNING_KEY" in f"{ran}") == (getting, False), "names go to git by stdin"


def test_a_check_that_could_not_read_the_secrets_is_green_nowhere(app: Site) -> None:
    rows = check(app, "A='open\n", code=3)
    assert {row["result"] for row in rows.values()} == {"FAIL", "UNKNOWN"}
    assert rows["source"]["evidence"].startswith(".env.local cannot be understood")
    (app.root / ".env.local").unlink()
    rows = {row["asked"]: row for row in json.loads(app.inv("secrets.check", "--json", code=3).stdout)}
    assert rows["source"]["next"].startswith("inv secrets.init")
