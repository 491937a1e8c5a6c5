"""Ask edges over HTTP, as the servers of ACME do."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urljoin, urlsplit

DIRECTORY = ".well-known/acme-challenge"
REDIRECTS, SECONDS = 5, 10


def reason(url: str, token: str, host: str = "") -> str:
    """Say why an address does not answer with a token; empty where it does. Only the first is asked under `host`."""
    try:
        for _ in range(REDIRECTS):
            status, location, body = get(url, host)
            if status not in (301, 302, 303, 307, 308):
                own = body.decode(errors="replace").strip()
                return "" if own == token else f"{url} answers {status}, and not with what is in the volume"
            url, host = urljoin(url, location), ""
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    return f"{url} redirects again and again"


def get(url: str, host: str = "", most: int = 4096) -> tuple[int, str, bytes]:
    """Ask once, whatever proxy the environment names; a certificate is not judged, since there may be none yet.

    Returns the status, where it leads, and at most so many bytes of the answer.
    """
    parts = urlsplit(url)
    context = ssl._create_unverified_context()  # noqa: S323  # as the servers of ACME do
    connection = (
        http.client.HTTPSConnection(parts.netloc, timeout=SECONDS, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    )
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read(most)
    finally:
        connection.close()
