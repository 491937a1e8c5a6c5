"""Advice leads out: it names what is to blame, and no command that would be refused or would change nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.backups import repository
from deploy.certificates import store
from deploy.config import loader
from deploy.core.errors import CommandFailed, Interrupted, OpsError, Refused
from deploy.core.facts import Container
from deploy.edge import nginx
from deploy.hosts.engine import Engine
from deploy.insight import compare, history, logs, services, status
from deploy.monitoring import run as monitoring
from deploy.rollout import drift, maintenance, takedown
from deploy.rollout.failures import record_failure
from deploy.rollout.lineage import make_record
from deploy.rollout.reversible import require_abortable
from deploy.site import interrupted
from deploy.site.facts import observe
from deploy.site.interrupted import interruptions
from deploy.site.run import Run
from deploy.state.store import moment
from deploy.tasks import rollout as tasks
from tests.support.faults import fail_at
from tests.support.place import STEPS, Place, bundled
from tests.support.samples import model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")


class Api:
    """An engine's answers about one container."""

    def __init__(self, **state: Any) -> None:
        self.state, self.asked = {"StartedAt": "2026-11-30T17:00:05.5Z", **state}, dict[str, Any]()

    def inspect_container(self, name: str) -> dict[str, Any]:
        return {"State": self.state, "RestartCount": self.state.get("restarts", 0)}

    def logs(self, name: str, **more: Any) -> bytes:
        self.asked = more
        return b"old words" if "since" not in more else self.state.get("printed", b"new words")


def engine(**state: Any) -> tuple[Engine, Api]:
    made, api = Engine("unix:///nowhere"), Api(**state)
    made.connected = SimpleNamespace(api=api)
    return made, api


@pytest.mark.parametrize(
    "refused",
    [repository.repository_of, monitoring.runs_of, services.find, lambda at: store.serving_in(at, {})],
    ids=["inv backup", "inv monitor.up", "inv logs", "inv tls.issue"],
)
def test_before_the_first_deploy_nobody_says_that_something_serves(tmp_path: Path, refused: Any) -> None:
    with pytest.raises(Refused) as error:
        refused(Place(tmp_path).at)
    assert (error.value.slug, error.value.document["serves"]) == ("nothing-runs", "nothing")


def test_what_a_container_printed_before_it_was_started_last_is_not_shown() -> None:
    made, api = engine()
    assert made.logs("x") == "new words"
    assert api.asked["since"] == datetime(2026, 11, 30, 17, 0, 5, tzinfo=UTC).timestamp()


def test_in_a_restart_loop_the_run_before_has_the_cause_until_the_new_one_has_printed() -> None:
    assert engine(printed=b"", restarts=2)[0].logs("x") == "old words"
    assert engine(printed=b"", restarts=0)[0].logs("x") == ""
    assert engine(restarts=2)[0].logs("x") == "new words"


def test_a_failed_health_check_is_shown_and_a_good_one_is_not() -> None:
    bad = {"Log": [{"ExitCode": 0, "Output": "fine"}, {"ExitCode": 1, "Output": "no database\n"}]}
    assert engine(Health=bad)[0].health_check("x") == "health check ended with 1: no database"
    assert engine(Health={"Log": [{"ExitCode": 0, "Output": "fine"}]})[0].health_check("x") == ""
    assert engine()[0].health_check("x") == ""


def test_the_container_that_is_to_blame_comes_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its colour are still starting."""

    def crash(name: str) -> None:
        if "worker" in name:
            place.host.engine.change(name, state="exited", health="", exit_code=3)

    monkeypatch.setattr(place.host, "crash", crash)
    listed = place.host.engine.containers
    monkeypatch.setattr(place.host.engine, "containers", lambda environment: tuple(
        replace(c, health="starting") if c.service == "backend" and c.release == "r3" and c.alive else c
        for c in listed(environment)))  # fmt: skip
    with pytest.raises(OpsError) as error:
        place.deploy("r3")
    blamed = error.value.what.splitlines()[1]
    assert "worker" in blamed
    assert "exit code 3" in blamed
    assert (
        "docker logs shop-local-green-worker" in error.value.then
        or "docker logs shop-local-blue-worker" in error.value.then
    )


def test_an_unhealthy_container_has_its_health_log_in_the_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = place.host.engine.containers
    monkeypatch.setattr(place.host.engine, "containers", lambda environment: tuple(
        replace(c, health="unhealthy") if c.service == "backend" and c.release == "r3" and c.alive else c
        for c in listed(environment)))  # fmt: skip
    with pytest.raises(OpsError, match=r"health check ended with 1: .*backend.* said no"):
        place.deploy("r3")


@pytest.mark.parametrize(
    "words", ["write /x: no space left on device", "No space left on device", "Disk quota exceeded"]
)
def test_a_full_disk_leads_to_the_command_that_says_where_the_space_went(words: str) -> None:
    error = CommandFailed("docker compose up", 1, words, "app1")
    assert (error.slug, error.then.startswith("inv disk")) == ("disk-full", True)
    assert CommandFailed("docker compose up", 1, "no such service", "app1").slug == "command-failed"


def test_a_dead_docker_host_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/gone.sock"
    assert "DOCKER_HOST" not in Engine(address).silent().then
    monkeypatch.setenv("DOCKER_HOST", address)
    assert Engine(address).silent().then.startswith("unset DOCKER_HOST")


def test_without_any_settings_the_way_to_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused) as error:
        list(loader.layers("local", tmp_path))
    assert "OPS_ROOT" in error.value.then
    assert "none yet" not in error.value.then


def test_a_service_with_a_hyphen_and_the_file_that_names_it_wrongly_are_named(tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "site.conf.j2").write_text("proxy_pass http://{{ live.my-app }};\n")
    web = tuple(replace(service, name="my-app") for service in model().web[:1])
    with pytest.raises(Refused) as error:
        nginx.render(settings(tmp_path), web, nginx.Route("blue", "r1"))
    assert error.value.where == "nginx/site.conf.j2", "and not the toolkit's file that includes it"
    assert '{{ live["my-app"] }}' in error.value.then
    (tmp_path / "nginx" / "site.conf.j2").write_text('proxy_pass http://{{ live["my-app"] }};\n')
    nginx.templates.cache_clear()
    assert "my-app_blue" in nginx.render(settings(tmp_path), web, nginx.Route("blue", "r1"))


def test_a_failed_deploy_took_the_time_that_it_took(place: Place) -> None:
    run = Run(place.settings, place.host, bundled("r3"))
    started = moment(datetime.now(UTC) - timedelta(seconds=75))
    record_failure(run, make_record(run.bundle.release, "deploy", started, "blue", 9), "it failed")
    last = place.state.ledger()[-1]
    assert (last.outcome, 75 <= last.seconds < 80) == ("failed", True)
    assert history.outcome(last) == "failed"


def test_a_deploy_behind_the_maintenance_page_says_what_visitors_get(place: Place, capsys: Any) -> None:
    maintenance.turn(place.at, on=True, off=False)
    place.deploy("r3")
    assert "visitors still get the maintenance page; inv maintenance --off" in " ".join(capsys.readouterr().err.split())


def test_a_line_has_its_time_where_that_is_asked_for() -> None:
    line = logs.Line("2026-11-30T17:05:03.123456789Z", "app", "words")
    assert (line.dated, logs.Line("", "app", "words").dated) == ("11-30 17:05:03 words", "words")
    assert (logs.query("", "", times=True).times, logs.query("", "").times) == (True, False)


def test_resume_and_abort_take_an_answer_and_are_asked_for_by_name(place: Place) -> None:
    fail_at(place.host, "Switch", Interrupted("cut off"))
    with pytest.raises(Interrupted):
        place.deploy("r3")
    words = interrupted.question(place.at, "go on")
    assert words.startswith("go on, since deploy")
    assert "r3" in words
    for task in (tasks.resume, tasks.abort):
        assert "yes" in inspect.signature(task.body).parameters


def test_an_abort_that_would_be_refused_is_not_advised(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(place.host, "Switch", Interrupted("cut off"))
    with pytest.raises(Interrupted):
        place.deploy("r3")
    left, observed = [*interruptions(place.at).values()], {place.host.name: observe(place.settings, place.host)}
    assert status.abortable(place.at, left, observed)
    place.state.keep_schema(place.state.schema().model_copy(update={"revision": "r9", "serves": ("r9",)}))  # type: ignore[union-attr]
    observed = {name: replace(facts, edge=replace(facts.edge, release="r3")) for name, facts in observed.items()}
    observed = {name: replace(facts, schema=place.state.schema()) for name, facts in observed.items()}
    with pytest.raises(Refused):
        require_abortable(place.at, left[0].on, observed)
    assert not status.abortable(place.at, left, observed)
    assert compare.compare({}, interrupted=True, abortable=False).then == "inv resume goes on"


def test_a_database_whose_secrets_alone_changed_is_no_drift_that_a_plan_speaks_of(place: Place) -> None:
    """PostgreSQL keeps the password that it was first started with; to recreate it changes nothing."""
    facts = observe(place.settings, place.host)
    made_of = facts.shared_existing["redis"].made_of
    text = bundled("r3").files["shared.yml"]

    def run(shared: str) -> Run:
        bundle = replace(bundled("r3"), files={**bundled("r3").files, "shared.yml": shared})
        return Run(place.settings, place.host, bundle, facts)

    rotated = run(text.replace(made_of, "0" * 12))
    assert drift.drifted(rotated) == ("redis",)
    assert drift.by_secrets_alone(rotated, "redis")
    image = facts.shared_existing["redis"].image
    changed = run(text.replace(made_of, "0" * 12).replace(image, "sha256:other"))
    assert not drift.by_secrets_alone(changed, "redis")


def test_a_release_that_is_still_starting_when_its_time_is_over_is_given_the_setting(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = place.host.engine.containers

    def still_starting(environment: str) -> tuple[Container, ...]:
        return tuple(replace(c, health="starting" if c.release == "r3" else c.health) for c in listed(environment))

    monkeypatch.setattr(place.host.engine, "containers", still_starting)
    with pytest.raises(OpsError, match="did not become healthy") as raised:
        place.deploy("r3")
    assert "they had 0.3 s: rollout.healthy_within may be too short" in raised.value.then


def test_a_release_that_fails_before_its_time_is_over_is_not_given_more(place: Place) -> None:
    place.host.fail_at(STEPS.index("AwaitHealthy"), lambda: None)
    with pytest.raises(OpsError, match="did not become healthy") as raised:
        place.deploy("r3")
    assert "healthy_within" not in raised.value.then


def test_what_down_with_volumes_leaves_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    takedown.down(place.at, volumes=True)
    folder = place.settings.state_dir
    assert (
        f"{folder} on localhost stays, with secrets and journal; to remove it: rm -r {folder}"
        in capsys.readouterr().err
    )
