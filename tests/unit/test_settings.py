"""Where settings come from, and what a person is told of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.config import repositories
from deploy.config.loader import load
from deploy.config.sections import Backup, Tls
from deploy.config.settings import Settings
from deploy.core.errors import Refused

APP = 'app = "shop"\ncompose = ["c.yml"]\ndomain = "app.test"\n'
Load = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load an environment from texts and OPS_ variables."""

    def loaded(app: str = APP, local: str = "", env: str = "local", **variables: str) -> Settings:
        folder = tmp_path / "deploy" / "environments"
        folder.mkdir(parents=True)
        (tmp_path / "deploy" / "app.toml").write_text(app)
        (folder / "local.toml").write_text(local)
        (folder / "staging.toml").write_text(local)
        monkeypatch.setenv("OPS_ROOT", str(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load(env)

    return loaded


@pytest.mark.parametrize(
    ("app", "local", "variables", "port"),
    [
        pytest.param(APP, "", {}, 8080, id="default"),
        pytest.param(APP + "edge.port = 1", "", {}, 1, id="app.toml over default"),
        pytest.param(APP + "edge.port = 1", "edge.port = 2", {}, 2, id="environment over app.toml"),
        pytest.param(APP + "edge.port = 1", "edge.port = 2", {"OPS_EDGE__PORT": "3"}, 3, id="variable over all"),
    ],
)
def test_the_nearest_layer_wins_and_the_others_stay(
    read: Load, app: str, local: str, variables: dict[str, str], port: int
) -> None:
    found = read(app, local + "\nedge.probe_port = 77", **variables)
    assert (found.edge.port, found.edge.probe_port, found.name) == (port, 77, "shop-local")


def test_all_mistakes_are_reported_at_once_with_file_path_and_nearest_key(read: Load) -> None:
    with pytest.raises(Refused) as raised:
        read(APP + "[edge]\nprot = 1\n", "[rollout]\nhealthy_within = 0\n[bild]\n", OPS_EDGE__PROBE_PORT="x")
    text = str(raised.value)
    for words in (
        ("deploy/app.toml", "edge.prot", "unknown", "port"),
        ("deploy/environments/local.toml", "rollout.healthy_within", "greater than 0"),
        ("bild", "unknown", "build"),
        ("OPS_EDGE__PROBE_PORT", "edge.probe_port", "it must be a whole number"),
    ):
        assert any(all(word in line for word in words) for line in text.splitlines()), (words, text)


def test_settings_that_contradict_each_other_are_refused(read: Load) -> None:
    with pytest.raises(Refused, match=r"keep_warm needs strategy blue_green"):
        read(APP, '[rollout]\nstrategy = "rolling"\nkeep_warm = true\n')


def test_env_and_root_are_not_settings(read: Load) -> None:
    with pytest.raises(Refused, match="env: unknown key"):
        read('env = "prod"\n' + APP)


@pytest.mark.parametrize(("env", "words"), [("stagin", "did you mean staging"), ("zzz", "local, staging")])
def test_an_unknown_environment_names_those_there_are(read: Load, env: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read(env=env)


def test_malformed_toml_names_file_and_line(read: Load) -> None:
    with pytest.raises(Refused, match=r"(?s)deploy/environments/local.toml.*line 2"):
        read(local="a = 1\n= oops")


def test_variables_keep_their_case(read: Load) -> None:
    assert read(OPS_VARIABLES__DEBUG_ENDPOINTS="x").variables == {"DEBUG_ENDPOINTS": "x"}


@pytest.mark.parametrize("variables", [{"OPS_EDGE": "1", "OPS_EDGE__PORT": "2"}, {"OPS_APP__X": "1"}], ids=str)
def test_a_key_is_a_section_or_a_value(read: Load, variables: dict[str, str]) -> None:
    with pytest.raises(Refused, match=r"(edge|app) is a section in one place and a value in another"):
        read(**variables)


def test_a_missing_key_is_named(read: Load) -> None:
    with pytest.raises(Refused, match="domain"):
        read('app = "shop"\ncompose = ["c.yml"]\n')


HOSTS = '[gateway]\naddress = "g"\n[hosts.app-1]\naddress = "a"\n[hosts.port]\naddress = "fd00::1"\nroles = ["app", "worker"]\n'


def test_hosts_by_name_and_by_variables_without_hyphens(read: Load) -> None:
    found = read(APP, HOSTS, OPS_HOSTS__APP_1__PORT="2222", OPS_HOSTS__NEW__ADDRESS="n", OPS_SSH__USER="ops")
    assert {name: (host.address, host.port, host.roles) for name, host in found.hosts.items()} == {
        "app-1": ("a", 2222, ["app", "worker", "edge", "data", "monitoring"]),
        "port": ("fd00::1", 22, ["app", "worker"]),
        "new": ("n", 22, ["app", "worker", "edge", "data", "monitoring"]),
    }
    assert (found.gateway and found.gateway.address, found.ssh.user) == ("g", "ops")


def test_mistakes_about_hosts_name_the_host_and_the_nearest_key(read: Load) -> None:
    wrong = HOSTS + 'privat = "1"\nkey = "AAAA"\n[hosts.App]\naddress = "a"\n[hosts.b]\naddress = "b:22"\nroles = []\n'
    with pytest.raises(Refused) as raised:
        read(APP, wrong, OPS_HOSTS__APP_1__USR="x", OPS_GATEWAY__PRT="1")
    text = str(raised.value)
    for words in (
        ("deploy/environments/local.toml: hosts.port.privat", "did you mean hosts.port.private?"),
        ("OPS_HOSTS__APP_1__USR (hosts.app-1.usr)", "did you mean hosts.app-1.user?"),
        ("OPS_GATEWAY__PRT", "did you mean gateway.port?"),
        ("hosts.port.key",),
        ("hosts.App",),
        ("hosts.b.address",),
        ("hosts.b.roles",),
    ):
        assert any(all(word in line for word in words) for line in text.splitlines()), (words, text)


@pytest.mark.parametrize("second", ['address = "a"', 'address = "A"', 'address = "c"\nprivate = "10.0.0.1"'])
def test_one_machine_is_one_host(read: Load, second: str) -> None:
    """Its lock would be waited for by the same operator who holds it."""
    both = r"hosts\.one and hosts\.two are both (a:22|10\.0\.0\.1); one machine is one host"
    with pytest.raises(Refused, match=rf"deploy/environments/local\.toml: hosts: .*{both}"):
        read(APP, f'[hosts.one]\naddress = "a"\nprivate = "10.0.0.1"\n[hosts.two]\n{second}\n')


def test_two_ports_of_one_address_are_two_machines(read: Load) -> None:
    assert len(read(APP, '[hosts.one]\naddress = "a"\n[hosts.two]\naddress = "a"\nport = 2222\n').hosts) == 2


def test_the_state_of_hosts_is_where_every_operator_looks_for_it(read: Load) -> None:
    """The home of who typed the command has nothing to do with them."""
    assert read(APP, '[hosts.one]\naddress = "a"\n').state_dir == Path("/var/lib/shop-local")


def test_an_environment_is_called_what_projects_can_be(read: Load, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"there is no environment `../local`"):
        read(APP, env="../local")
    (tmp_path / "deploy" / "environments" / "Prod.eu.toml").touch()
    with pytest.raises(Refused, match="env: it must be lower-case letters"):
        load("Prod.eu")


def test_no_host_is_called_gateway(read: Load) -> None:
    with pytest.raises(Refused, match="give the host another name"):
        read(APP, '[hosts.gateway]\naddress = "a"\n')


@pytest.mark.parametrize(
    ("local", "words"),
    [
        ('[hosts.a]\naddress = "a"\nprivate = "0.0.0.0"', "hosts.a.private: no other host reaches"),
        ('[hosts.a]\naddress = "a"\nprivate = "127.0.0.1"', "hosts.a.private: no other host reaches"),
        ('[hosts.a]\naddress = "a"\nprivate = "999.1.1.1"', "hosts.a.private: it must be an IPv4 address"),
        ('[hosts.a]\naddress = "a"\nuser = "a b"', "hosts.a.user: it must be an account"),
        ('[hosts.a]\naddress = "a"\nkey = "AAAA"', "hosts.a.key: it must be a public key as in a .pub file"),
        ('[hosts.a]\naddress = "a:22"', "hosts.a.address: it must be a name or an address, without a port"),
        ('[hosts.a]\naddress = "."', "hosts.a.address: it must be a name, whose parts"),
        ('[hosts.a]\naddress = "a..b"', "hosts.a.address: it must be a name, whose parts"),
        (f'[hosts.a]\naddress = "{"a" * 64}.b"', "hosts.a.address: it must be a name, whose parts"),
        ('[hosts.A]\naddress = "a"', "hosts.A: it must be lower-case letters, digits and hyphens"),
        ('[hosts.a]\naddress = "a"\nport = true', "hosts.a.port: it must be a number, not true"),
        ("rollout.watch = false", "rollout.watch: it must be a number, not false"),
        ("ssh.connect_within = inf", "ssh.connect_within: it must be a finite number"),
        ('ssh.user = "-oProxyCommand=x"', "ssh.user: it must be an account"),
        ('ssh.key_file = ""', "ssh.key_file: it names no file"),
        ('ship.registry = ":5000"', "ship.registry: it must be a registry and a path"),
        ('state = "state"', "state: it must begin with /"),
        ('state = "/"', "state: it must be a folder of its own"),
        ('domain = ""', "domain: it must be a name"),
        ('domain = "a.test; root /"', "domain: it must be a name"),
        ('domain = "{a}"', "domain: it must be a name"),
        ('domain = "a.test\\nb"', "domain: it must be a name"),
        ('edge.address = "localhost"', "edge.address: it must be an IP address"),
        ("edge.port = 9180", "edge: edge.port and edge.probe_port are both 9180"),
    ],
)
def test_what_could_not_work_is_refused(read: Load, local: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        read(APP, local)
    assert f": {words}" in str(raised.value)


@pytest.mark.parametrize(
    ("local", "variables"),
    [
        ('domain = "a.test *.b-c.test _"', {}),
        ('edge.address = "::1"', {}),
        ('domain = "192.0.2.7 app.test"\ntls.by = "acme"', {}),
        ('edge.address = "[::]"', {"OPS_ROLLOUT__KEEP_WARM": "true"}),
        ('[hosts.a]\naddress = "b_\u00fccher.example."', {"OPS_HOSTS__A__PORT": "22"}),
    ],
)
def test_what_works_is_taken(read: Load, local: str, variables: dict[str, str]) -> None:
    read(APP, local, **variables)


def test_a_key_may_be_pasted_with_its_comment(read: Load) -> None:
    found = read(APP, '[hosts.a]\naddress = "a"\nkey = "ssh-ed25519 AAAAC3Nz root@a  2026"\nprivate = "10.0.0.1"')
    assert found.hosts["a"].key == "ssh-ed25519 AAAAC3Nz"


@pytest.mark.parametrize(
    ("local", "words"),
    [
        ('notify.on = "deploy"', 'notify.on: it must be a list, as in ["a", "b"]'),
        ("domain = 5", 'domain: it must be a text, as in "a"'),
        ("build = 5", "build: it must be a section of keys and values"),
        ("variables.A = 5", 'variables.A: it must be a text, as in "a"'),
        ("edge.port = 80.5", "edge.port: it must be a whole number, as in 3"),
        ('rollout.watch = "x"', "rollout.watch: it must be a number, as in 2.5"),
        ('rollout.keep_warm = "x"', "rollout.keep_warm: it must be true or false"),
        ('rollout.strategy = "x"', "rollout.strategy: it must be 'blue_green' or 'rolling'"),
        ('state = ["a"]', 'state: it must be a text, as in "a"'),
    ],
)
@pytest.mark.parametrize("env", ["local", "staging"])
def test_a_wrong_type_is_named_in_the_words_of_toml(read: Load, env: str, local: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        read(APP, local, env)
    assert f"deploy/environments/{env}.toml: {words}" in str(raised.value)


def test_a_byte_order_mark_is_no_part_of_a_file(read: Load) -> None:
    assert read("\ufeff" + APP, "\ufeffedge.port = 2").edge.port == 2


def test_a_file_that_is_not_utf_8_is_refused_by_line(read: Load, tmp_path: Path) -> None:
    read(APP)
    for name in ("app.toml", "environments/local.toml"):
        (tmp_path / "deploy" / name).write_bytes(b"\n\n# caf\xe9\n")
    with pytest.raises(Refused) as raised:
        load("local")
    for name in ("deploy/app.toml", "deploy/environments/local.toml"):
        assert f"{name} is not UTF-8, line 3" in str(raised.value)


@pytest.mark.parametrize(
    ("env", "local", "bases"),
    [
        ("local", "", "auto"),
        ("local", 'build.bases = "public"', "public"),
        ("staging", "", "public"),
        ("staging", "[build]", "public"),
        ("staging", 'build.bases = "debian"', "debian"),
    ],
)
def test_bases_are_of_the_machine_only_where_the_environment_is(read: Load, env: str, local: str, bases: str) -> None:
    assert read(APP, local, env).build.bases == bases


@pytest.mark.parametrize(
    ("local", "variables", "place"),
    [
        ('build.bases = "auto"', {}, "deploy/environments/staging.toml: build.bases"),
        ("", {"OPS_BUILD__BASES": "auto"}, "OPS_BUILD__BASES (build.bases)"),
    ],
)
def test_one_commit_does_not_get_other_bases_on_another_machine(
    read: Load, local: str, variables: dict[str, str], place: str
) -> None:
    with pytest.raises(Refused) as raised:
        read(APP, local, "staging", **variables)
    assert (
        f"{place}: auto is for local and dev: one commit would get other bases on another machine; write public or debian"
        in str(raised.value)
    )


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("sftp:b@vault.example.org:/srv/books", "vault.example.org KEY"),
        ("sftp:b@vault.example.org:2022/books", "vault.example.org KEY"),  # a folder of its name, as restic has it
        ("sftp://b@vault.example.org:2022//srv/books", "[vault.example.org]:2022 KEY"),
        ("sftp://b@vault.example.org//srv/books", "vault.example.org KEY"),
        ("s3:https://s3.example.org/bucket/books", ""),
        ("/backups", ""),
    ],
)
def test_what_ssh_must_know_of_the_server_of_a_repository(address: str, line: str) -> None:
    assert repositories.known_host(address, "KEY") == line


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ({"offsite": "/srv/books"}, "what is on the host goes with the host"),
        ({"offsite": "rclone:x:y"}, "it must be sftp://"),
        ({"offsite": "s3:https://id:secret@s3.example.org/books"}, "it must be sftp://"),
        ({"repository": "books"}, "it must be a folder of the backup service"),
        ({"offsite": "sftp:b@vault.example.org:/srv"}, "offsite is reached by SFTP and needs offsite_key"),
        ({"repository": "s3:https://s3.example.org/b", "offsite": "s3:https://s3.example.org/b"}, "the same place"),
    ],
)
def test_a_repository_that_is_none_is_refused(keys: dict[str, str], mistake: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Backup.model_validate(keys)
    assert mistake in str(refused.value)


@pytest.mark.parametrize(
    ("local", "words"),
    [
        ('tls.by = "file"', "tls: by file needs tls.certificate and tls.key"),
        ('tls = {by = "file", certificate = "a.pem"}', "tls: by file needs tls.key"),
        ('tls.key = "a.pem"', 'tls: certificate and key are of by = "file"'),
        (
            'tls = {by = "acme", server = "http://acme.test"}',
            "tls.server: it must be staging, production, or the https",
        ),
        ('tls.names = ["*.app.test"]', "tls.names.0: it must be one name"),
        ('domain = "*.app.test"\ntls.by = "acme"', "tls.by acme gets no certificate for *.app.test"),
        ('domain = "192.0.2.777"\ntls.by = "acme"', "tls.by acme gets no certificate for 192.0.2.777"),
        (
            'domain = "192.0.2.7"\ntls = {by = "acme", challenge = "dns-01", dns_hook = ["x"]}',
            "tls.by acme gets no certificate for 192.0.2.7: the challenge dns-01 needs a name",
        ),
        ('tls = {by = "acme", challenge = "dns-01"}', 'tls: challenge = "dns-01" needs dns_hook'),
        ('tls = {by = "acme", dns_hook = ["x"]}', 'tls: dns_hook is of by = "acme" with challenge = "dns-01"'),
        ('tls.names = ["www.app.test", "app.test"]', "tls.names has www.app.test, which the edge lets in nowhere"),
        ('edge.canonical = "www.app.test"', "edge.canonical is www.app.test, which is none of the names in domain"),
        ('edge.trusted_proxies = ["10.0.0.1/8"]', "edge.trusted_proxies.0: it must be an address or a network"),
        ('edge.trusted_proxies = ["::/0"]', "edge.trusted_proxies.0: it is nearly everybody"),
        ('edge.trusted_proxies = ["0.0.0.0/1", "128.0.0.0/1"]', "edge.trusted_proxies.1: it is nearly everybody"),
        ('edge.trusted_proxies = ["fe80::1%eth0;x"]', "edge.trusted_proxies.0: it must be an address or a network"),
        ('edge.trusted_proxies = ["10.0.0.0/0.255.255.255"]', "edge.trusted_proxies.0: it must be an address"),
        ("edge.header_within = 0.0001", "edge.header_within: it must be greater than or equal to 0.1"),
        ("edge.body_mb = 99999999999999999", "edge.body_mb: it must be less than or equal to 1000000"),
        ("tls.hsts_seconds = 999999999999", "tls.hsts_seconds: it must be less than or equal to"),
        (f'domain = "{"a" * 64}.test"', "domain: it must be a name"),
        (f'domain = "{".".join(["a" * 60] * 5)}"', "domain: it must be a name"),
        ('domain = "a..test"', "domain: it must be a name"),
        ('domain = "a*b.test"', "domain: it must be a name"),
        ('edge.limits = {"api" = 5}', "edge.limits.api: it must be the beginning of a path"),
        ('edge.limits = {"/api/" = 0}', "edge.limits./api/: it must be greater than 0"),
        ('edge.port = 8443\ntls.by = "acme"', "edge.tls_port is 8443, as another port of the edge is"),
    ],
)
def test_an_edge_that_could_not_work_is_refused(read: Load, local: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        read(APP, local)
    assert words in str(raised.value)


def test_a_certificate_is_for_the_names_of_the_domain_unless_others_are_listed(read: Load) -> None:
    found = read(
        APP,
        'domain = "a.test *.a.test"\ntls = {by = "acme", names = ["b.a.test"]}\nedge.port = 8443\nedge.tls_port = 443',
    )
    assert found.tls_names == ("b.a.test",)
    assert found.model_copy(update={"tls": Tls()}).tls_names == ("a.test", "*.a.test")


def test_a_wildcard_is_proven_by_dns(read: Load) -> None:
    hook = 'challenge = "dns-01", dns_hook = ["python", "/hook.py"]'
    found = read(APP, f'domain = "a.test *.a.test"\nedge.port = 80\ntls = {{by = "acme", {hook}}}')
    assert found.tls_names == ("a.test", "*.a.test")
