"""Secrets that must not come back: an earlier release gets the current value in place of a revoked one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from deploy.config import secrets
from deploy.config.secrets.rules import SHORTEST
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.facts import Facts
from deploy.core.shell import docker
from deploy.site.run import Run
from deploy.state.store import Bundle


def replacements(
    env: Mapping[str, str], current: Mapping[str, str], revoked: Mapping[str, tuple[str, ...]] | None
) -> dict[str, str | None]:
    """Return the current value of each key whose own is revoked, None where there is none. Pure.

    A key may have had another name then: what is revoked is so under each, but for short values, which are words.
    Where the record of revocations is damaged (None), every key that both have counts as revoked.
    """
    if revoked is None:
        return {key: current[key] for key, value in env.items() if current.get(key, value) != value}
    under_any_name = {fingerprint for own in revoked.values() for fingerprint in own}
    hit = [
        key for key, value in env.items()
        if secrets.fingerprint(value) in (under_any_name if len(value) >= SHORTEST else revoked.get(key, ()))
    ]  # fmt: skip
    return {key: current.get(key) for key in hit if current.get(key) != env[key]}


def without_revoked(run: Run) -> Run:
    """Give an earlier release the current values of the secrets that were revoked since, on its host.

    Containers that hold the old ones and serve nobody are removed, so that new ones are made. Its bundle is written
    again last: with the new values in it, nothing else says that a container has the old ones. Raise Refused where what
    serves has no value in place of one, or the containers are all that there is of the release, or of its secrets.
    """
    serving, env, revoked = run.facts.edge.release, secrets.rendered(run.bundle.env), run.state.revoked()
    lost = not env and revoked != {}
    env = environment(run) if lost else env
    current = secrets.rendered(run.state.text(str(serving), "env"))  # whatever else of its bundle is damaged
    values = replacements(env, current, revoked)
    if not values:
        return run
    lacking = [key for key, value in values.items() if value is None or lost or run.release.reconstructed]
    if lacking:
        what = f"{', '.join(lacking)} of release {run.release.id} was revoked, and nothing can stand in its place"
        then = f"inv deploy of commit {run.release.revision} takes the secrets of now"
        raise Refused(what, where=run.host.name, then=then, slug="secret-revoked")
    console.warn(f"{', '.join(values)} of {run.release.id} was revoked: it gets the value that {serving} has")
    written = rewritten(run.bundle, {**env, **{key: value or "" for key, value in values.items()}})
    facts = drop_idle(run)
    run.state.keep(written)
    return replace(run, bundle=written, facts=facts)


def environment(run: Run) -> dict[str, str]:
    """Return the variables of the release's containers: they hold its secrets where its file of them is gone."""
    names = [c.name for c in run.facts.containers if c.release == run.release.id]
    asked = docker("inspect", "--format", "{{json .Config.Env}}", *names).as_query()
    printed = run.host.run(asked) if names else ""
    return dict(word.split("=", 1) for line in printed.splitlines() for word in json.loads(line) or () if "=" in word)


def rewritten(bundle: Bundle, env: Mapping[str, str]) -> Bundle:
    """Return a bundle with other secrets."""
    release = bundle.release.model_copy(update={"secrets": secrets.version(env)})
    return replace(bundle, release=release, env=secrets.render(env))


def drop_idle(run: Run) -> Facts:
    """Remove the release's containers that the edge does not name: Compose would start them with the old secrets."""
    facts = run.facts
    idle = [
        c for c in facts.containers
        if c.release == run.release.id and c.colour != facts.edge.colour and c.name not in facts.edge.members
    ]  # fmt: skip
    if idle:
        run.host.run(docker("rm", "--force", *(c.name for c in idle)))
    return replace(facts, containers=tuple(c for c in facts.containers if c not in idle))
