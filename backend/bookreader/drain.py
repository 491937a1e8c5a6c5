"""Close the WebSockets before the server is stopped: `python -m bookreader.drain`, undone by `... off`."""

import sys

from bookreader.paths import DRAIN_FLAG


def main(arguments: list[str]) -> None:
    """Raise or lower the flag that every server process watches; HTTP requests are served either way."""
    if arguments == ["off"]:
        DRAIN_FLAG.unlink(missing_ok=True)
    elif arguments:
        sys.exit("usage: python -m bookreader.drain [off]")
    else:
        DRAIN_FLAG.touch()


if __name__ == "__main__":
    main(sys.argv[1:])
