"""Secrets that a service comes to by what it extends, on the real engine."""

from __future__ import annotations

import stat

from tests.support.site import Site, docker

BASE = "services:\n  base: {env_file: [web.env, .env]}\n"


def test_a_service_that_extends_another_file_gets_the_releases_secrets_and_no_file_shows_them(tiny: Site) -> None:
    tiny.write("docker/parts/base.yml", BASE)
    tiny.write("docker/parts/web.env", "MAIL_KEY=planted-by-web\nONLY_HERE=planted-by-web\n")
    tiny.write(".env.local", "MAIL_KEY=planted-by-local\n")
    (tiny.root / ".env.local").chmod(0o600)
    tiny.replace(
        "docker/compose.yml",
        f"    image: {tiny.app}/app\n",
        f"    image: {tiny.app}/app\n    extends: {{file: parts/base.yml, service: base}}\n",
    )
    tiny.commit()
    planned = tiny.inv("plan", "--json")
    output = [
        "app: docker/parts/web.env is not read, the release's secrets stand in its place; ONLY_HERE are not among them"
    ]
    assert [line.partition(": put")[0] for line in planned.document["hosts"][0]["left_out"]] == output
    assert f"! {output[0]}" in planned.stderr
    deployed = tiny.inv("deploy", "--json")
    assert f"! {output[0]}" in deployed.stderr
    web = next(name for name in tiny.containers() if "-blue-" in name)
    assert "MAIL_KEY=planted-by-local" in docker("inspect", "--format", "{{json .Config.Env}}", web)
    assert "planted-by-web" not in docker("inspect", web)
    folder = tiny.state / "releases" / deployed.document["release"]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert "planted-by" not in path.read_text() or path.name == "env"
    generations = [path for path in (tiny.state / "edge").rglob("*") if path.is_file()]
    assert generations
    assert all("planted-by" not in path.read_text() and path.stat().st_mode & stat.S_IROTH for path in generations)
    assert "planted-by" not in planned.stdout + planned.stderr + deployed.stdout + deployed.stderr
