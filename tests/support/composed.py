"""What tests of compose files share: the variables of our own files, and texts that are easily misread."""

from __future__ import annotations

from hypothesis import strategies as st

VARIABLES = {
    "EDGE_ADDRESS": "127.0.0.1", "EDGE_PORT": "8080", "EDGE_PROBE_PORT": "9180", "EDGE_CONFIGURATION": "/state/edge",
    "STATE_FOLDER": "/state",
    "BASE_POSTGRES": "base/postgres", "BASE_REDIS": "base/redis", "DEBUG_ENDPOINTS": "$5 ${HOME} #\"'\\",
}  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
UGLY = st.text("'\"$#\\\n\r\t {}=`!", max_size=8)
