"""Start and stop the monitoring stack on the hosts of an environment."""

from __future__ import annotations

from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError, Refused, acting
from deploy.core.shell import LONG, command, compose, docker
from deploy.monitoring import check, heartbeat, images, loki, stack
from deploy.site import notify
from deploy.site.checks import Check
from deploy.site.facts import observe, observe_all
from deploy.site.run import Run, standing, standing_on

WITHIN = 60.0  # seconds until every target was scraped and every rule evaluated


def runs_of(at: Environment) -> tuple[Run, ...]:
    """Return the runs of the release that serves, one for each host; raise Refused where none does."""
    facts = observe_all(at)
    serving = next((own.edge.release for own in facts.values() if own.edge.release), None)
    if not serving:
        what = "nothing is deployed, so there is nothing to watch"
        raise Refused(what, where=at.settings.env, serves="nothing", then="inv deploy", slug="nothing-runs")
    return standing(at, serving, facts).runs


def reachable_runs(at: Environment) -> tuple[tuple[Run, ...], dict[str, OpsError]]:
    """Return the runs of the hosts that are reached, and by the others' names why they are not.

    Raises Refused where every host is reached and nothing is deployed.
    """
    facts, lost = at.gather(lambda host: observe(at.settings, host))
    serving = next((own.edge.release for own in facts.values() if own.edge.release), None)
    if not serving:
        return ((), lost) if lost else (runs_of(at), {})
    hosts = [host for host in at.hosts if host.name in facts]
    runs, failed = at.gather(lambda host: standing_on(at, host, serving, facts[host.name]), hosts)
    return tuple(runs.values()), lost | failed


def up(at: Environment) -> list[Check]:
    """Start the stack on every host, or bring it to what it should be; return what its check came to."""
    runs, urls = runs_of(at), notify.addresses(at.settings)
    beats = heartbeat.addresses(at.settings, [run.host.name for run in runs])
    prepared = images.prepare(*at.machine)
    for run in runs:
        images.bring(prepared, at.here, run.host)
        start(run, stack.stack_of(run, " ".join(urls), beats[run.host.name]), prepared)
    if "grafana" not in prepared.references:
        words = "there is no Grafana, Loki or Alloy, which no Debian package has: inv monitor.page, inv logs"
        console.say(acting(words, at.settings.env))
    if not urls:
        console.warn(
            acting(f"{notify.KEY} is not set: nobody is notified; add it, then inv monitor.up", at.settings.env)
        )
    return check.settled(at.settings, runs, WITHIN)


def start(run: Run, own: stack.Stack, prepared: images.Images) -> None:
    """Write the stack's files on a host and start it; what has not changed is left alone."""
    host, folder = run.host, run.settings.state_dir
    host.run(command("mkdir", "-p", str(folder / "metrics")))
    if "alloy" in prepared.references:
        root = host.run(docker("info", "--format", "{{.DockerRootDir}}").as_query()).strip()
        own = replace(own, engine_root=root)
    else:
        host.remove(folder / loki.FILE)  # where it ran before, inv logs would ask it
    for path, text in stack.files(own, prepared).items():
        host.write(folder / path, text)
    for path, text in stack.private(own).items():
        host.write(folder / path, text, mode=0o600)
    with console.step(f"start the monitoring stack on {host.name}"):
        try:
            words = ("up", "--detach", "--remove-orphans", "--quiet-pull")
            host.run(compose(own.project, str(folder / stack.FILE), *words), timeout=LONG)
        except CommandFailed as error:
            what = f"the monitoring stack did not start:\n{error.output}"
            raise OpsError(
                what, where=host.name, then="fix that, then inv monitor.up", slug="monitoring-failed"
            ) from None


def down(at: Environment) -> None:
    """Stop the stack on every host and remove its containers; its history stays, in volumes."""
    project = stack.project_of(at.settings)
    for host in at.hosts:
        with console.step(f"remove the monitoring stack of {host.name}"):
            host.run(docker("compose", "--project-name", project, "down", "--remove-orphans"), timeout=LONG)
            host.remove(at.settings.state_dir / stack.PRIVATE)
