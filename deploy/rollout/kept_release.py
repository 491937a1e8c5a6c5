"""Refuse a release whose files were edited or whose images were removed, before it is put back into service."""

from __future__ import annotations

from contextlib import suppress

from deploy.core.errors import OpsError, Reasons, refuse
from deploy.core.model import ON_DEMAND, SHARED
from deploy.core.shell import docker
from deploy.rollout import preflight
from deploy.site.run import Fleet, Run
from deploy.state.store import served_by


def require_kept(fleet: Fleet) -> None:
    """Refuse a release of which a host lost an image, or whose files were edited there, with every reason at once."""
    reasons = Reasons()
    for check in (preflight.require_edge_usable, require_files, require_images):
        with reasons:
            fleet.each(check)
    reasons.refuse()


def require_files(run: Run) -> None:
    """Refuse files of a release that are not what its release.json says."""
    release = run.bundle.release
    edited = [] if release.reconstructed else run.state.edited(run.bundle)
    refuse(
        f"files of release {release.id} are not what they were when it was kept:",
        [f"{run.state.bundle_folder(release.id) / name}" for name in edited],
        where=run.host.name,
        then=other_release(run),
        slug="release-edited",
    )


def require_images(run: Run) -> None:
    """Refuse a release whose containers cannot be created: an image of theirs was removed."""
    images = needed_images(run)
    done = run.host.try_run(docker("image", "inspect", "--format", "{{.Id}}", *images).as_query()) if images else None
    existing = done.stdout.split() if done and done.returncode else [*images]
    refuse(
        f"images of release {run.release.id} were removed from {run.host.name}:",
        [f"{', '.join(names)} ({image[:19]})" for image, names in images.items() if image not in existing],
        where=run.host.name,
        then=other_release(run),
        slug="image-missing",
    )


def needed_images(run: Run) -> dict[str, list[str]]:
    """Return the images from which containers are to be created, with the services that need each."""
    images: dict[str, list[str]] = {}
    if run.release.reconstructed:  # its containers are started, and none are created
        return images
    running = {c.service for c in run.facts.containers if c.release == run.release.id and c.up}
    for service in run.release.services:
        existing = run.facts.shared_existing if service.role in SHARED else running
        if service.name not in existing and service.role not in ON_DEMAND:
            images.setdefault(service.image, []).append(service.name)
    return images


def other_release(run: Run) -> str:
    """Name the way out where a release cannot serve: an earlier one, or its commit."""
    release, entries = run.bundle.release, run.state.ledger()
    others = [name for name in served_by(entries) if name not in (release.id, run.facts.edge.release)]
    kept = run.state.kept() if others else []
    earlier = next((f"inv rollback --to={name}" for name in others if name in kept), "")
    return "; or ".join(filter(None, [earlier, f"inv deploy of commit {release.revision}"]))


def after_failed_rollback(fleet: Fleet, then: str) -> str:
    """Return the next commands after a failed rollback: what shows its cause, and another release to go back to."""
    looks = [part for part in then.split("; ") if part and "inv deploy" not in part]
    with suppress(OpsError, OSError):
        looks += [f"inv history names the releases to go back to; {other_release(fleet.runs[0])}"]
    return "; ".join(looks)
