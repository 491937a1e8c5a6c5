"""Read which images a Dockerfile is made of: FROM, COPY --from, RUN --mount=from, and what reads it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

COMMENT = re.compile(r"(?m)^[ \t]*#.*\n?")
CONTINUED = re.compile(r"\\[ \t]*\n")
HEREDOC = re.compile(r"(?ms)<<-?[\"']?(\w+)[\"']?(.*?)\n.*?\n\t*\1[ \t]*$")
ARGUMENTS = re.compile(r"(?i)^arg[ \t]+(.+)")
ARGUMENT = re.compile(r"""(?:^|(?<=\s))(\w+)=("[^"]*"|'[^']*'|\S+)""")
ON_BUILD = re.compile(r"(?i)^onbuild[ \t]+")
# `from --platform=$X  name AS stage` is one as well
FROM = re.compile(r"(?i)^from[ \t]+(?:--\S+[ \t]+)*(\S+)(?:[ \t]+as[ \t]+(\S+))?")
COPY = re.compile(r"(?i)^copy[ \t]+(?:--\S+[ \t]+)*?--from=(\S+)")
RUN = re.compile(r"(?i)^run[ \t]+((?:--\S+[ \t]+)+)")
MOUNT = re.compile(r"""--mount=(?:\S*,)?["']*from=["']?([^,\s"']+)""")
DIRECTIVE = re.compile(r"[ \t]*#[ \t]*([A-Za-z]\w*)[ \t]*=[ \t]*(\S+)")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


def images(text: str, arguments: Mapping[str, str] | None = None) -> list[str]:
    """Return the images that a Dockerfile names, but for its own stages, each once.

    `arguments` are given to the build. A name is left with its `$` where a variable in it has no value.
    """
    named, stages, values = dict[str, None](), {"scratch"}, dict[str, str]()
    for line in instructions(text):
        if (arguments_here := ARGUMENTS.match(line)) is not None:
            for name, value in ARGUMENT.findall(arguments_here[1]):
                values.setdefault(name, value.strip("\"'"))
        for name in references(line):
            image = filled(name, values | dict(arguments or {}))
            if image.lower() not in stages and not image.isdigit():
                named.setdefault(image)
        if (begun := FROM.match(line)) and begun[2]:
            stages.add(begun[2].lower())
    return [*named]


def frontend(text: str, arguments: Mapping[str, str] | None = None) -> str:
    """Return the image that reads a Dockerfile in BuildKit's place, by `# syntax=` or an argument; empty for none.

    https://docs.docker.com/reference/dockerfile/#parser-directives
    """
    lines = text.removeprefix("\ufeff").splitlines()
    named = dict[str, str]()
    for line in lines[1:] if lines and lines[0].startswith("#!") else lines:
        if not (directive := DIRECTIVE.match(line)):
            break  # another comment, or an empty line, ends them
        named.setdefault(directive[1].lower(), directive[2])
    return (arguments or {}).get("BUILDKIT_SYNTAX", "").partition(" ")[0] or named.get("syntax", "")


def instructions(text: str) -> Iterator[str]:
    """Yield the instructions, each on one line: without comments, continued lines, and what a heredoc holds."""
    joined = HEREDOC.sub(r"\2", CONTINUED.sub(" ", COMMENT.sub("", text)))
    yield from (line.strip() for line in joined.splitlines())


def references(line: str) -> list[str]:
    """Return what one instruction takes files from: an image, a stage, a context of the build."""
    line = ON_BUILD.sub("", line)  # the build of an image that is made of this one does it
    if match := FROM.match(line) or COPY.match(line):
        return [match[1].strip("\"'")]
    flags = RUN.match(line)
    return MOUNT.findall(flags[1]) if flags else []


def filled(name: str, values: Mapping[str, str]) -> str:
    """Fill in the variables of a name; one without a value stays."""
    return VARIABLE.sub(lambda match: values.get(match[1] or match[3]) or match[2] or match[0], name)
