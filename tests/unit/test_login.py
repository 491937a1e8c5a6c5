"""Passwords as nginx compares them."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest

from deploy.config.sections import Edge
from deploy.core.errors import Refused
from deploy.edge import frame, login
from tests.support.samples import settings


def asking(root: Path, secret: str) -> str:
    (root / ".env.local").write_text(f"LOGIN={secret}\n")
    (root / ".env.local").chmod(0o600)
    return login.htpasswd(settings(root, edge=Edge(login="LOGIN")))


def test_a_frame_has_the_hash_of_a_login_and_the_same_each_time(tmp_path: Path) -> None:
    line = asking(tmp_path, "ann:in-a-harbour")
    user, _, hashed = line.strip().partition(":")
    assert (user, line) == ("ann", asking(tmp_path, "ann:in-a-harbour"))
    assert bcrypt.checkpw(b"in-a-harbour", hashed.encode())
    assert frame.render(settings(tmp_path, edge=Edge(login="LOGIN")))["logins"].text == line
    assert "logins" not in frame.render(settings(tmp_path))


@pytest.mark.parametrize("secret", ["ann", "ann:short", ":in-a-harbour", f"ann:{'x' * 73}"])
def test_a_login_without_a_name_or_with_a_weak_password_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(Refused, match="LOGIN must be a name, a colon, and a password") as refused:
        asking(tmp_path, secret)
    assert "short" not in str(refused.value)


def test_a_login_whose_secret_is_not_there_is_refused(tmp_path: Path) -> None:
    asking(tmp_path, "ann:in-a-harbour")
    with pytest.raises(Refused, match="ELSE must be a name"):
        login.htpasswd(settings(tmp_path, edge=Edge(login="ELSE")))
