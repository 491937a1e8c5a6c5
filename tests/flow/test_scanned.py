"""Promise: where the settings say so only what was scanned goes into service or migrates, by digest.

What served may serve.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import GateClosed, Interrupted, Refused
from deploy.core.model import Record
from deploy.insight import history
from deploy.rollout import commands, migration_check, migrations, rebuild
from deploy.state.folder import moment
from deploy.state.scans import Scan, Scans
from tests.flow.test_shared import Shop, made
from tests.support.samples import IMAGES

pytestmark = pytest.mark.usefixtures("no_waiting")


def ago(days: float) -> str:
    """Write down when that was."""
    return moment(datetime.now(UTC) - timedelta(days=days))


class Prod(Shop):
    """A shop that serves r1, and needs a PASS of each image from then on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        scan = self.settings.scan.model_copy(update={"required": True})
        self.settings = self.settings.model_copy(update={"scan": scan})
        self.at = self.at._replace(settings=self.settings)
        self.bundle = made("r2")

    def scanned(
        self, *names: str, result: Literal["PASS", "FAIL", "UNKNOWN"] = "PASS", by: str = "digest",
        days: float = 1, database: float = 1,
    ) -> None:  # fmt: skip
        """Record what a scan said of images, of all when none is named.

        `days` ago, with a database of `database` days.
        """
        for name in names or IMAGES:
            digest = IMAGES[name] if by == "digest" else "sha256:of-another-manifest"
            config = "" if by == "digest" else IMAGES[name]
            scan = Scan(image=name, digest=digest, config=config, result=result, scanned=ago(days), who="ann",
                        database=ago(database), revision="r2", scanner="trivy",
                        reasons=("CVE-2999-1 flask 1.0",))  # fmt: skip
            Scans(self.host, self.settings.state_dir).keep(scan, "")

    def last(self) -> Record:
        return self.state.ledger()[-1]


@pytest.fixture
def prod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prod:
    return Prod(tmp_path, monkeypatch)


def refused(prod: Prod) -> str:
    """Deploy, and be refused with nothing changed."""
    before = dict(prod.host.engine.observed), prod.journal(), prod.state.kept()
    with pytest.raises(GateClosed) as error:
        commands.deploy(prod.at)
    assert (dict(prod.host.engine.observed), prod.journal(), prod.state.kept()) == before
    assert error.value.slug == "image-not-scanned"
    assert "inv scan" in error.value.then
    return error.value.what


def test_what_was_not_scanned_is_refused(prod: Prod) -> None:
    name = min(IMAGES)
    prod.scanned(*(other for other in IMAGES if other != name))
    assert refused(prod).splitlines()[1:] == [f"    {name} ({IMAGES[name][:19]}) was not scanned"]


def test_a_pass_by_older_data_takes_no_fail_away(prod: Prod) -> None:
    """As of a colleague whose database is of two days ago, from before the vulnerability was published."""
    name = min(IMAGES)
    prod.scanned()
    prod.scanned(name, result="FAIL", database=1)
    for by in ("digest", "config"):
        with pytest.raises(Refused, match=f"{name} was FAIL with the database of"):
            prod.scanned(name, by=by, days=0, database=2)
    assert f"{name} ({IMAGES[name][:19]}) was FAIL" in refused(prod)
    prod.scanned(name, days=0, database=1)
    assert commands.deploy(prod.at).release == "r2"


@pytest.mark.parametrize("result", ["FAIL", "UNKNOWN"])
def test_what_has_no_pass_is_refused_with_the_reason(prod: Prod, result: Literal["FAIL", "UNKNOWN"]) -> None:
    prod.scanned()
    prod.scanned(min(IMAGES), result=result, days=2)
    assert f"was {result} on {ago(2)[:-4]}" in (words := refused(prod))
    assert "CVE-2999-1 flask 1.0" in words


@pytest.mark.parametrize(
    ("days", "database", "words"),
    [
        (7.1, 7.1, "was scanned on {}, 7 days ago; scan.pass_days allows 7"),
        (1, 8, "was scanned with a database that was made on {}, 8 days ago; scan.pass_days allows 7"),
        (-1, 1, "which is yet to come by the clock of this machine"),
    ],
    ids=["old scan", "old database", "to come"],
)
def test_a_pass_ages(prod: Prod, days: float, database: float, words: str) -> None:
    """Since new vulnerabilities are published every day; what was in service is not asked, and a person may even so."""
    prod.scanned()
    prod.scanned(min(IMAGES), days=days, database=database)
    line = refused(prod).splitlines()[1]
    assert line.startswith(f"    {min(IMAGES)} ({IMAGES[min(IMAGES)][:19]}) was scanned")
    before, _, after = words.partition("{}")
    assert before in line
    assert after in line
    commands.deploy(prod.at, unscanned="no time, ticket 7")
    assert (prod.serving(), prod.last().unscanned) == ("r2", "no time, ticket 7")
    assert commands.rollback(prod.at).release == "r1"
    assert commands.deploy(prod.at, to="r2").release == "r2"


def test_the_newest_scan_counts_by_whichever_digest_it_has(prod: Prod) -> None:
    """One on a machine with the other image store knows the same image by its configuration alone."""
    digest, config, scans = IMAGES[min(IMAGES)], "sha256:its-config", Scans(prod.host, prod.settings.state_dir)
    prod.scanned(days=2)
    of_config = Scan(image="a", digest="sha256:other", config=config, result="FAIL", scanned=ago(1), who="ann",
                     revision="r2", scanner="trivy")  # fmt: skip
    for scanned, result in ((ago(1), "FAIL"), (ago(3), "PASS")):
        scans.keep(of_config.model_copy(update={"scanned": scanned}), "")
        found = scans.of(digest, config)
        assert found
        assert found.result == result


def test_a_pass_ends_with_the_waiver_that_it_relies_on(prod: Prod) -> None:
    prod.scanned()
    name, scans = min(IMAGES), Scans(prod.host, prod.settings.state_dir)
    scan, today = scans.of(IMAGES[name]), datetime.now(UTC).date()
    assert scan
    scans.keep(scan.model_copy(update={"until": today}), "")
    assert refused(prod).splitlines()[1].endswith(f"was PASS by a waiver that expired on {today}")
    scans.keep(scan.model_copy(update={"until": today + timedelta(days=1)}), "")
    assert commands.deploy(prod.at).release == "r2"


def test_a_scan_at_no_time_is_none(prod: Prod) -> None:
    prod.scanned()
    for path in (prod.settings.state_dir / "scans").rglob("*.json"):
        path.write_text(path.read_text().replace(path.read_text().split('"scanned": "')[1][:20], "yesterday"))
    assert "was not scanned" in refused(prod)


@pytest.mark.parametrize("by", ["digest", "config"])
def test_what_was_scanned_is_deployed_and_nothing_is_reported(prod: Prod, by: str) -> None:
    """By the manifest's digest, or the configuration's, which is all that the classic store has."""
    prod.scanned(by=by)
    assert commands.deploy(prod.at).release == "r2"
    assert prod.last().unscanned == ""


def test_a_scan_that_cannot_be_read_is_none(prod: Prod) -> None:
    prod.scanned()
    for path in (prod.settings.state_dir / "scans").rglob("*.json"):
        path.write_text("{")
    assert "was not scanned" in refused(prod)


def test_a_person_deploys_it_all_the_same_and_history_has_the_reason(prod: Prod) -> None:
    commands.deploy(prod.at, unscanned="the database is down, ticket 7")
    assert prod.last().unscanned == "the database is down, ticket 7"
    assert history.outcome(prod.last()) == "in service, not scanned: the database is down, ticket 7"


def test_the_reason_of_an_interrupted_deploy_is_kept_by_resume(prod: Prod, monkeypatch: pytest.MonkeyPatch) -> None:
    """And resume asks nothing: what it goes on with was let through."""

    def cut() -> BaseException:
        return Interrupted("interrupted")

    prod.host.fail_at(2, cut)
    with pytest.raises(Interrupted):
        commands.deploy(prod.at, unscanned="ticket 7")
    commands.resume(prod.at)
    assert (prod.serving(), prod.last().unscanned) == ("r2", "ticket 7")


def test_a_reason_that_was_not_needed_is_not_recorded(prod: Prod) -> None:
    prod.scanned()
    commands.deploy(prod.at, unscanned="to be sure")
    assert prod.last().unscanned == ""


def test_a_rollback_to_what_served_is_never_asked(prod: Prod) -> None:
    prod.scanned()
    commands.deploy(prod.at)
    prod.scanned(result="FAIL")
    assert commands.rollback(prod.at).release == "r1"
    assert commands.deploy(prod.at, to="r2").release == "r2"


@pytest.mark.parametrize("back", [commands.deploy, commands.rollback])
def test_a_release_that_never_served_is_asked_whatever_brings_it(
    prod: Prod, monkeypatch: pytest.MonkeyPatch, back: Callable[..., object]
) -> None:
    monkeypatch.setattr(commands, "require_reversible", lambda *_: None)  # its schema is that of r1
    prod.state.keep(prod.bundle)  # as a deploy leaves it that failed
    before = dict(prod.host.engine.observed), prod.journal()
    with pytest.raises(GateClosed) as error:
        back(prod.at, to="r2")
    assert (error.value.slug, prod.serving()) == ("image-not-scanned", "r1")
    assert (dict(prod.host.engine.observed), prod.journal()) == before
    assert "inv rollback --to=r2 --unscanned=REASON" in error.value.then
    back(prod.at, to="r2", unscanned="ticket 7")
    assert (prod.serving(), prod.last().unscanned) == ("r2", "ticket 7")


@pytest.mark.parametrize("command", [migrations.migrate, migrations.lint, migrations.status, migration_check.check])
def test_no_image_runs_on_the_database_that_was_not_scanned(prod: Prod, command: Callable[[Environment], Any]) -> None:
    before = prod.state.kept()
    prod.host.executed.clear()
    with pytest.raises(GateClosed) as error:
        command(prod.at)
    assert (error.value.slug, prod.state.kept()) == ("image-not-scanned", before)
    assert not [line for line in prod.host.executed if "docker compose" in line]
    assert ("--unscanned=REASON" in error.value.then) is (command is migrations.migrate)


def test_a_person_migrates_all_the_same_and_the_journal_has_the_reason(prod: Prod) -> None:
    migrations.migrate(prod.at, unscanned="ticket 7")
    assert [
        line["unscanned"] for line in prod.journal() if line.get("command") == "migrate" and "unscanned" in line
    ] == ["ticket 7"]


@pytest.mark.parametrize("this_checkout", [True, False])
def test_a_checkout_that_is_rebuilt_in_place_of_what_served_is_asked(
    prod: Prod, monkeypatch: pytest.MonkeyPatch, this_checkout: bool
) -> None:
    """And the release that served is not."""
    deployed = list[str]()
    run = SimpleNamespace(release=prod.bundle.release)
    built = SimpleNamespace(bundle=lambda *_: prod.bundle)
    monkeypatch.setattr(rebuild, "credentials", lambda *_: {})
    monkeypatch.setattr(rebuild, "require_bare", lambda *_: None)
    monkeypatch.setattr(rebuild.Built, "here", lambda *_: built)
    monkeypatch.setattr(rebuild, "reading", lambda *_: SimpleNamespace(run=run))
    monkeypatch.setattr(rebuild, "recorded", lambda *_: (None, "", prod.bundle))
    monkeypatch.setattr(rebuild, "require_images", lambda *_: None)
    monkeypatch.setattr(rebuild, "write_secrets", lambda *_: None)
    monkeypatch.setattr(rebuild, "put_into_service", lambda *words: deployed.append(words[-1]))
    if this_checkout:
        with pytest.raises(GateClosed, match="was not scanned"):
            rebuild.rebuild(prod.at, "", "", this_checkout=True)
        assert deployed == []
    rebuild.rebuild(prod.at, "", "", this_checkout=this_checkout, unscanned="ticket 7")
    assert deployed == ["ticket 7" if this_checkout else ""]


def test_prod_that_needs_no_scan_records_that(prod: Prod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever set it, in a file or by OPS_SCAN__REQUIRED; nothing where every image has a PASS."""
    monkeypatch.setattr(Settings, "asks", property(lambda _: True))
    scan = prod.settings.scan.model_copy(update={"required": False})
    prod.at = prod.at._replace(settings=prod.settings.model_copy(update={"scan": scan}))
    commands.deploy(prod.at)
    assert (prod.serving(), prod.last().unscanned) == ("r2", "scan.required is false")
    prod.scanned()
    prod.bundle = made("r3")
    commands.deploy(prod.at)
    assert (prod.serving(), prod.last().unscanned) == ("r3", "")


@pytest.mark.parametrize(
    ("env", "required", "asked"), [("prod", None, True), ("local", None, False), ("prod", False, False)]
)
def test_prod_asks_unless_the_settings_say_otherwise(prod: Prod, env: str, required: bool | None, asked: bool) -> None:
    scan = prod.settings.scan.model_copy(update={"required": required})
    assert prod.settings.model_copy(update={"env": env, "scan": scan}).needs_scan is asked
