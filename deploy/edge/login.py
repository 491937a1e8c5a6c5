"""Who is let in where a site is not for everybody: a name and a password, as nginx compares them."""

from __future__ import annotations

import base64
import hashlib

from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core.errors import Refused

# more than that bcrypt does not look at
LEAST, MOST = 12, 72
# nginx asks again for each request: 2^5 rounds take a millisecond
ROUNDS = 5


def htpasswd(settings: Settings) -> str:
    """Hash what the secret that `edge.login` names holds, for auth_basic_user_file.

    The same each time, since a frame is named by its hash: the salt is of the site and the user, not of the password.
    """
    import bcrypt

    key = settings.edge.login
    user, _, password = secrets.read(settings).get(key, "").partition(":")
    if not user or not LEAST <= len(password.encode()) <= MOST:
        what = f"{key} must be a name, a colon, and a password of {LEAST} to {MOST} bytes"
        then = f"inv secrets.edit --env={settings.env}, then inv plan --env={settings.env}"
        raise Refused(what, where=settings.secrets_name, then=then, slug="edge-login-invalid")
    salt = hashlib.sha256(f"{settings.name}:{user}".encode()).digest()[:16]
    line = bcrypt.hashpw(password.encode(), b"$2b$%02d$" % ROUNDS + encoded(salt))
    return f"{user}:{line.decode()}\n"


def encoded(salt: bytes) -> bytes:
    """Write sixteen bytes as bcrypt does, in base64 with an alphabet of its own."""
    usual = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    own = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return base64.b64encode(salt).rstrip(b"=").translate(bytes.maketrans(usual, own))
