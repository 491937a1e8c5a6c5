"""What a build made, for people and for programs."""

from __future__ import annotations

from deploy import console
from deploy.images.build import Built


def built(result: Built, *, json: bool) -> None:
    """Show a build's images."""
    if json:
        console.document({
            "revision": result.revision, "commit": result.commit, "seconds": round(result.seconds, 2),
            "images": [{"image": image.name, "digest": image.digest, "config_digest": image.config_digest,
                        "bytes": image.layers.total(), "cached_steps": image.cached, "steps": image.steps}
                       for image in result.images],
        })  # fmt: skip
        return
    console.table(
        ["image", "digest", "size", "cached steps"],
        [[i.name, i.digest[:19], f"{i.megabytes:.0f} MB", f"{i.cached} of {i.steps}"] for i in result.images],
    )
    console.say(f"built {result.revision} in {result.seconds:.1f} s")
