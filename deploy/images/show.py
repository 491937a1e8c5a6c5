"""Show what a build made and what hosts got of it, to people and to programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy.core import console
from deploy.core.errors import OpsError
from deploy.images.build import MEGABYTE, Built
from deploy.images.push import PushResult
from deploy.images.ship import UNTOUCHED


def built(result: Built, push: PushResult | None = None, *, json: bool) -> None:
    """Show a build's images, and what hosts got of them; raise OpsError when one did not get everything."""
    if json:
        console.document({
            "revision": result.revision, "commit": result.commit, "seconds": round(result.seconds, 2),
            "images": [{"image": image.name, "digest": image.digest, "config_digest": image.config_digest,
                        "bytes": image.layers.total(), "cached_steps": image.cached, "steps": image.steps}
                       for image in result.images],
            **({"hosts": hosts(push)} if push else {}),
        })  # fmt: skip
    else:
        console.table(
            ["image", "digest", "size", "cached steps"],
            [[i.name, i.digest[:19], f"{i.megabytes:.0f} MB", f"{i.cached} of {i.steps}"] for i in result.images],
        )
        console.say(f"built {result.revision} in {result.seconds:.1f} s")
    if push:
        pushed(push, json=json, documented=json)


def pushed(result: PushResult, *, json: bool, documented: bool = False) -> None:
    """Show what every host got, unless the document has it; raise OpsError when one did not get everything."""
    if json and not documented:
        console.document({"revision": result.revision, "hosts": hosts(result)})
    if not json:
        rows = [
            [one.host, one.images, megabytes(one.sent), megabytes(one.skipped), f"{one.seconds:.1f} s"]
            for one in result.shipped
        ]
        rows += [[name, "failed", "-", "-", "-"] for name in result.failed]
        console.table(["host", "images", "sent", "skipped", "took"], rows)
    if result.failed:
        causes = "\n".join(f"{name}: {error.what}" for name, error in result.failed.items())
        what, where = f"the images are not on every host:\n{causes}", ", ".join(result.failed)
        then = "; ".join(dict.fromkeys(error.then for error in result.failed.values()))
        slugs = {error.slug for error in result.failed.values()}
        slug = slugs.pop() if len(slugs) == 1 else "several-causes"
        raise OpsError(what, where=where, serves=UNTOUCHED, then=then, slug=slug, documented=json)


def hosts(result: PushResult) -> list[dict[str, Any]]:
    """Return what every host got, for programs."""
    nothing = dict.fromkeys(("images", "sent", "skipped", "seconds"))
    shipped = [{**asdict(one), "seconds": round(one.seconds, 2), "error": None} for one in result.shipped]
    return shipped + [{"host": name, **nothing, "error": error.what} for name, error in result.failed.items()]


def megabytes(count: int | None) -> str:
    """Write bytes for people."""
    return "-" if count is None else f"{count / MEGABYTE:.2f} MB"
