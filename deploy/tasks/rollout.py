"""`inv plan`, `inv deploy`, `inv rollback`, after an interruption `inv resume`, `inv abort`, `inv unlock`, and `inv down`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, YES, door


@door(help={**ENV, **JSON})
def plan(c: Any, env: str = "local", json: bool = False) -> None:
    """Show what a deploy would do now, and do nothing."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import release, show

    show.plan(*release.intended(settings.load(env), LocalHost()), json=json)


@door(help={**ENV, **JSON, **YES, "to": "an earlier release (default: this checkout)", "include": "shared services to make anew: edge,…"})
def deploy(c: Any, env: str = "local", to: str = "", include: str = "", yes: bool = False, json: bool = False) -> None:
    """Put a release into service without losing a request."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import release, show

    wanted = settings.load(env)
    show.outcome(release.deploy(wanted, LocalHost(), to=to, include=include), wanted, json=json)


@door(help={**ENV, **JSON, **YES, "to": "the release to go back to (default: the one before)"})
def rollback(c: Any, env: str = "local", to: str = "", yes: bool = False, json: bool = False) -> None:
    """Put an earlier release back into service: code, configuration and secrets together."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import release, show

    wanted = settings.load(env)
    show.outcome(release.rollback(wanted, LocalHost(), to=to), wanted, json=json)


@door(help={**ENV, **JSON})
def resume(c: Any, env: str = "local", json: bool = False) -> None:
    """Go on with a deploy or rollback that was interrupted."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import recovery, show

    wanted = settings.load(env)
    show.recovered(recovery.resume(wanted, LocalHost()), wanted, "go on with", json=json)


@door(help={**ENV, **JSON})
def abort(c: Any, env: str = "local", json: bool = False) -> None:
    """Undo a deploy or rollback that was interrupted: back to the release that was in service."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import recovery, show

    wanted = settings.load(env)
    show.recovered(recovery.abort(wanted, LocalHost()), wanted, "undo", json=json)


@door(help={**ENV, **YES})
def unlock(c: Any, env: str = "local", yes: bool = False) -> None:
    """End another operator's command that holds the lock; a dead one never holds it."""
    from deploy import console, settings
    from deploy.rollout import recovery

    console.say(recovery.unlock(settings.load(env), yes=yes))


@door(positional=["service"], help={**ENV, "service": "SERVICE=N"})
def scale(c: Any, service: str, env: str = "local") -> None:
    """Bring a service to a number of replicas, now and in later releases: inv scale SERVICE=N."""
    from deploy import console, settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import scale

    console.say(scale.scale(settings.load(env), LocalHost(), service))


@door(help={**ENV, "on": "serve the page to everybody", "off": "serve the app again"})
def maintenance(c: Any, env: str = "local", on: bool = False, off: bool = False) -> None:
    """Put a page that says "back in a moment" in front of the app, or take it away; deploys go on behind it."""
    from deploy import console, settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import maintenance

    console.say(maintenance.turn(settings.load(env), LocalHost(), on=on, off=off))


@door(help={**ENV, **YES, "volumes": "remove the data as well; asks for the environment's name"})
def down(c: Any, env: str = "local", volumes: bool = False, yes: bool = False) -> None:
    """Stop an environment; its data stays unless --volumes."""
    from deploy import console, settings
    from deploy.hosts.local import LocalHost
    from deploy.rollout import takedown

    wanted = settings.load(env)
    if volumes:
        console.confirm(f"This removes every volume of {wanted.name}, data included.", yes=yes, word=wanted.name)
    takedown.down(wanted, LocalHost(), volumes=volumes)
