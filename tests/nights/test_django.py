"""Django behind the edge: forms with CSRF tokens over forwarded TLS, static files, its migrations and the way back."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from tests.support.site import ROOT, Site, make_app

HOST = "shop.example.org"
TLS = {"Host": HOST, "X-Forwarded-Proto": "https"}
MIGRATION = '''"""{title}."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Do it."""

    {mark}dependencies = [("shop", "{parent}")]
    operations = [{operation}]
'''


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The app with its first release in service."""
    site = make_app(tmp_path_factory.mktemp("django"), ROOT / "tests" / "apps" / "django")
    try:
        site.inv("secrets.init")
        site.inv("deploy")
        yield site
    finally:
        site.sweep()


@dataclass(frozen=True)
class Answer:
    """What the edge answered."""

    status: int
    headers: dict[str, str]
    text: str


def ask(site: Site, method: str, path: str, headers: dict[str, str], **form: str) -> Answer:
    """Ask the edge as a balancer does that has ended a visitor's TLS."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
        connection.request(method, path, urlencode(form) or None, {**TLS, **kind, **headers})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read().decode())


def form(site: Site) -> tuple[str, str, str]:
    """Fetch the form; return the page, its token and the cookie."""
    page = ask(site, "GET", "/", {})
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token, page
    return page.text, token[1], page.headers["Set-Cookie"]


def test_a_form_is_taken_over_forwarded_tls_and_a_forged_one_is_not(shop: Site) -> None:
    """No fault: a form with a CSRF token through the edge; without token or from another origin it is refused."""
    _, token, cookie = form(shop)
    assert "Secure" in cookie
    own = {"Cookie": cookie.partition(";")[0], "Origin": f"https://{HOST}", "Referer": f"https://{HOST}/"}
    sent = ask(shop, "POST", "/", own, title="Tea", csrfmiddlewaretoken=token)
    assert (sent.status, sent.headers["Location"]) == (302, "/")
    assert "<li>Tea</li>" in form(shop)[0]
    assert ask(shop, "POST", "/", own, title="Forged").status == 403
    for other in ({"Origin": "https://evil.example.org"}, {"Origin": f"http://{HOST}"}, {"X-Forwarded-Proto": "http"}):
        assert ask(shop, "POST", "/", {**own, **other}, title="Forged", csrfmiddlewaretoken=token).status == 403, other
    assert "Forged" not in form(shop)[0]


def test_static_files_of_earlier_pages_are_still_there(shop: Site) -> None:
    """No fault: collectstatic before the switch; a page of the release before still finds its files."""
    before = stylesheet(shop)
    shop.write("backend/shop/static/shop.css", "body { color: green; }\n")
    shop.commit("green")
    shop.inv("deploy")
    after = stylesheet(shop)
    assert before != after
    assert "serif" in ask(shop, "GET", before, {}).text
    assert "green" in ask(shop, "GET", after, {}).text
    shop.inv("rollback")
    assert stylesheet(shop) == before


def stylesheet(site: Site) -> str:
    """The address of the stylesheet, as the page has it."""
    found = re.search(r'href="(/static/[\w-]+/shop\.css)"', form(site)[0])
    assert found
    return found[1]


def test_the_way_back_past_migrations_that_django_lists(shop: Site) -> None:
    """`x-deploy.migrations`: back past a migration that is marked compatible, not past another, which is named."""
    column = 'migrations.AddField("Order", "note", models.CharField(max_length=9, default="", db_default=""))'
    add(shop, "0002_note", "0001_initial", column, mark="compatible = True\n    ")
    shop.inv("deploy")
    shop.inv("rollback")
    assert "<li>Tea</li>" in form(shop)[0]
    assert ask(shop, "GET", "/health", {}).status == 200
    add(shop, "0003_name", "0002_note", 'migrations.RenameField("Order", "title", "name")')
    shop.replace("backend/shop/models.py", "title =", "name =")
    shop.replace("backend/shop/urls.py", 'create(title=request.POST["title"])', 'create(name=request.POST["title"])')
    shop.replace("backend/shop/urls.py", 'values_list("title"', 'values_list("name"')
    shop.commit("name")
    release = shop.inv("deploy", "--json").document["release"]
    refused = shop.inv("rollback", "--json", code=2).document
    assert refused["slug"] == "schema-does-not-fit"
    assert "shop.0003_name" in refused["error"]
    assert "shop.0002_note" not in refused["error"]
    assert shop.inv("status", "--json").document["release"] == release
    assert "<li>Tea</li>" in form(shop)[0]


def add(site: Site, name: str, parent: str, operation: str, *, mark: str = "") -> None:
    """Add a migration to the checkout."""
    text = MIGRATION.format(title=name, parent=parent, operation=operation, mark=mark)
    site.write(f"backend/shop/migrations/{name}.py", text)
    site.commit(name)
