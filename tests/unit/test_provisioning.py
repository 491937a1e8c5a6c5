"""What a server must be before it is provisioned, what Ansible is given, and how its events are judged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.config.environment import Environment
from deploy.config.sections import Provision
from deploy.config.settings import ROOT, Settings
from deploy.core import yaml
from deploy.core.errors import OpsError, Refused
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Machine, Server, Ssh
from deploy.provisioning import bare, drift, inventory, playbook, provision
from deploy.provisioning.bare import Bare
from deploy.provisioning.playbook import Event
from deploy.site.checks import Check
from scripts import bootstrap
from tests.support import samples

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOtherOtherOtherOtherOtherOtherOtherOtherOther"
SSH = ("0.0.0.0", 22)
READY = Bare(
    "app1", "root", "debian", "12", root=True, systemd=True, operator="203.0.113.7", ssh_port=22, listens=(SSH,)
)  # fmt: skip
HOSTS = {
    "app1": Server(address="198.51.100.1", key=KEY, private="10.0.0.1", roles=["edge", "app"]),
    "data": Server(address="198.51.100.2", port=2222, key=KEY, private="10.0.0.2", roles=["data"], user="ops"),
}


def settings(**more: Any) -> Settings:
    plain = {"hosts": HOSTS, "ssh": Ssh(user="deploy"), "edge": {"address": "0.0.0.0", "port": 80}}
    return samples.settings(**{**plain, **more})


def slug(server: Bare, **more: Any) -> str:
    """Return why a server is refused; empty when it is not."""
    try:
        bare.require(settings(**more), [server])
    except Refused as refused:
        return refused.slug
    return ""


def changed(task: str, diff: str = "", host: str = "app1") -> Event:
    return Event("result", task, host=host, outcome="changed", diff=diff)


def test_what_a_server_printed() -> None:
    printed = "connection=203.0.113.7 5000 198.51.100.1 22\nsystem=debian\nversion=12\nuid=0\nsystemd=yes\n"
    assert bare.parse("app1", "root", f"{printed}listens=00000000:0016 \nkeys=1\n") == READY
    six = "00000000000000000000000000000000:0050 00000000000000000000000001000000:0019 0100007F:1538"
    lived = bare.parse("app1", "root", f"{printed}provisioned=yes\nlistens=00000000:0016 {six}\nkeys=3\n")
    listens = (SSH, ("::", 80), ("::1", 25), ("127.0.0.1", 5432))
    assert lived == replace(READY, provisioned=True, listens=listens, keys=3)
    printed += "listens=00000000:0016\nkeys=1\n"
    as_admin = bare.parse("app1", "admin", printed.replace("uid=0", "uid=1000\nsudo=yes"))
    assert as_admin == replace(READY, login="admin")
    assert not bare.parse("app1", "admin", printed.replace("uid=0", "uid=1000")).root


def test_a_server_that_is_ready_is_not_refused() -> None:
    assert slug(READY) == ""


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        (replace(READY, system="fedora", version="42"), "system-unsupported"),
        (replace(READY, version="11"), "system-unsupported"),
        (replace(READY, systemd=False), "system-unsupported"),
        (replace(READY, login="admin", root=False), "sudo-refused"),
    ],
)
def test_a_server_that_cannot_be_provisioned_is_refused(server: Bare, cause: str) -> None:
    assert slug(server) == cause


def test_all_reasons_at_once_with_the_hosts() -> None:
    servers = [replace(READY, version="11"), replace(READY, name="data", root=False)]
    with pytest.raises(Refused) as refused:
        bare.require(settings(), servers)
    assert refused.value.where == "app1, data"
    assert refused.value.slug == "several-causes"


LISTENS = (SSH, ("127.0.0.1", 5432), ("127.0.0.53", 53), ("::1", 25), ("10.0.0.1", 6379), ("::", 80))
HTTPS = ("::", 443)


@pytest.mark.parametrize(
    ("server", "lost"),
    [
        pytest.param(replace(READY, listens=LISTENS), [], id="ssh, the edge, loopback, the private network"),
        pytest.param(
            replace(READY, listens=(*LISTENS, HTTPS, ("0.0.0.0", 25))), ["closed to the outside: 25, 443"], id="more"
        ),
        pytest.param(replace(READY, listens=()), ["it does not show what listens"], id="nobody could look"),
        pytest.param(replace(READY, keys=3), ["root lets 3 keys in, and will let in none; deploy"], id="colleagues"),
        pytest.param(replace(READY, keys=3, login="deploy"), [], id="the account's own keys stay"),
        pytest.param(replace(READY, listens=(SSH, HTTPS), keys=3, provisioned=True), [], id="a second run"),
    ],
)
def test_what_a_server_loses_that_had_a_life_before(server: Bare, lost: list[str]) -> None:
    lines = bare.losses(settings(), server, [80])
    assert [words in line for words, line in zip(lost, lines, strict=True)] == [True] * len(lost)


def test_a_loss_is_asked_for_in_every_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert provision.warn_of_losses(settings(), [replace(READY, listens=(SSH, HTTPS))])
    assert "app1: these ports listen and are closed to the outside: 443" in capsys.readouterr().err
    assert not provision.warn_of_losses(settings(), [READY])


@pytest.mark.parametrize(
    ("networks", "operator", "admitted"),
    [
        ([], "203.0.113.7", True),
        (["203.0.113.0/24"], "203.0.113.7", True),
        (["203.0.113.7"], "203.0.113.7", True),
        (["203.0.113.0/24"], "::ffff:203.0.113.7", True),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["198.51.100.0/24"], "203.0.113.7", False),
        (["198.51.100.0/24"], "2001:db8::1", False),
        (["198.51.100.0/24"], "", False),
    ],
)
def test_rules_that_lock_the_operator_out_are_refused(networks: list[str], operator: str, admitted: bool) -> None:
    found = slug(replace(READY, operator=operator), provision=Provision(ssh_from=networks))
    assert found == ("" if admitted else "firewall-locks-out")


def test_a_network_with_bits_of_a_host_is_no_network() -> None:
    with pytest.raises(ValueError, match="an address or a network"):
        Provision(ssh_from=["203.0.113.7/24"])


def test_a_machine_without_a_pinned_key_is_refused_and_names_all() -> None:
    hosts = {name: server.model_copy(update={"key": ""}) for name, server in HOSTS.items()}
    with pytest.raises(Refused, match="app1, data") as refused:
        inventory.known_hosts(settings(hosts=hosts))
    assert refused.value.slug == "no-host-key"


def test_openssh_reads_the_way_to_each_machine(tmp_path: Path) -> None:
    """As `ssh -G` resolves it: pinned keys alone, under the machine's name, through the gateway."""
    gateway = Machine(address="198.51.100.9", user="jump", key=KEY)
    made = settings(gateway=gateway, ssh=Ssh(user="deploy", key_file=Path("/my keys/id")))
    (tmp_path / "config").write_text(inventory.ssh_config(made, tmp_path))
    asked = ["ssh", "-G", "-F", str(tmp_path / "config"), "data"]
    printed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
    assert (found["hostname"], found["port"], found["user"]) == ("198.51.100.2", "2222", "ops")
    assert (found["stricthostkeychecking"], found["hostkeyalias"]) == ("true", "data")
    assert found["userknownhostsfile"] == f"{tmp_path}/known_hosts"
    assert (found["globalknownhostsfile"], found["proxyjump"]) == ("/dev/null", "gateway")
    assert (found["identityfile"], found["identitiesonly"]) == ("/my keys/id", "yes")
    assert inventory.known_hosts(made).splitlines() == [f"{name} {KEY}" for name in ("gateway", "app1", "data")]


def test_what_is_open_on_each_server() -> None:
    made = settings(provision=Provision(ports=[443]))
    edge, data = (inventory.variables(made, replace(READY, name=name)) for name in ("app1", "data"))
    assert (edge["firewall_ssh_ports"], data["firewall_ssh_ports"]) == ([22], [22, 2222])
    assert (edge["firewall_public_ports"], data["firewall_public_ports"]) == ([80, 443], [443])
    assert (edge["firewall_private"], edge["firewall_peers"]) == ("10.0.0.1", ["10.0.0.2"])
    assert (edge["account_name"], data["account_name"]) == ("deploy", "ops")
    behind = settings(edge={"address": "127.0.0.1", "port": 80})
    assert inventory.public_ports(behind, HOSTS["app1"]) == []


def test_root_is_shut_out_only_where_another_account_deploys() -> None:
    root = settings(ssh=Ssh(user="root"))
    assert inventory.variables(settings(), READY)["sshd_root_login"] == "no"
    assert inventory.variables(root, READY)["sshd_root_login"] == "prohibit-password"


def test_nothing_of_the_persons_own_ansible_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    act = playbook.playbook(tmp_path, settings(), check=False)
    assert act.argv[:2] == ("env", "--unset=ANSIBLE_HOST_KEY_CHECKING")
    assert "--check" not in act.argv
    assert playbook.playbook(tmp_path, settings(), check=True).argv[-3:-1] == ("--check", "--diff")


def test_a_run_whose_events_nobody_reads_any_more_ends_itself(tmp_path: Path) -> None:
    """`inv` was killed; the playbook would go on, beside the next one."""
    plugin, ended = ROOT / "infra/ansible/callback_plugins/events.py", tmp_path / "went on"
    script = f"""
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("events", {str(plugin)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.CallbackModule().emit(kind="task")
pathlib.Path({str(ended)!r}).touch()
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert run.stdout
    run.stdout.close()
    assert run.wait(60) == -signal.SIGTERM
    assert not ended.exists()


DPKG = """#!/bin/sh
[ -e {there}/asked ] || {{ touch {there}/asked; echo "dpkg frontend lock was locked by another process" >&2; exit 2; }}
rm -f {there}/updates/0*
"""


@pytest.mark.parametrize(("left", "asked"), [(["0000", "0001", "tmp.i"], True), (["tmp.i"], False), ([], False)])
def test_what_dpkg_was_cut_off_in_is_finished_once_nobody_else_installs(
    tmp_path: Path, left: list[str], asked: bool
) -> None:
    """apt-get does nothing before: "dpkg was interrupted, you must manually run 'dpkg --configure -a'"."""
    (play, _) = yaml.load((ROOT / "infra/ansible/provision.yml").read_text())
    script = play["pre_tasks"][0]["ansible.builtin.raw"].replace("/var/lib/dpkg", str(tmp_path))
    programs = {"dpkg": DPKG.format(there=tmp_path), "sleep": "#!/bin/sh\n"}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "updates").mkdir()
    for name in left:
        (tmp_path / "updates" / name).touch()
    way = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ran = subprocess.run(["sh", "-uc", script], env=way, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, "finished" in ran.stdout, (tmp_path / "asked").exists()) == (0, asked, asked), ran.stderr
    assert not [*(tmp_path / "updates").glob("0*")]


def test_events_are_shown_role_by_role_and_other_lines_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"kind": "task", "task": "Install", "role": "engine"},
        {"kind": "result", "task": "Install", "host": "app1", "outcome": "changed"},
        {"kind": "task", "task": "Restart", "role": "engine"},
        {"kind": "result", "task": "Restart", "host": "app1", "outcome": "ok"},
        {"kind": "task", "task": "Rules", "role": "firewall"},
    ]
    raw = [json.dumps(line).encode() for line in lines]
    events = [*playbook.shown(map(playbook.parse, [*raw, b"a word of Ansible's own\n"]))]
    assert [(event.task, event.outcome) for event in events] == [("Install", "changed"), ("Restart", "ok")]
    shown = capsys.readouterr().err
    assert "app1: changed: Install" in shown
    assert "Restart" not in shown
    assert "a word of Ansible's own" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith(" ok")] == ["engine", "firewall"]


def test_each_failure_is_named_with_its_host_and_the_next_command() -> None:
    failed = Event("result", "Install", host="app1", outcome="failed", message="no space left")
    with pytest.raises(OpsError, match="app1: Install: no space left") as error:
        provision.require_done([changed("Write"), failed])
    assert (error.value.code, error.value.slug, error.value.hosts) == (1, "provisioning-failed", ("app1",))
    lost = replace(failed, host="data", outcome="unreachable")
    with pytest.raises(OpsError) as error:
        provision.require_done([failed, lost])
    assert error.value.slug == "host-unreachable"
    assert "takes unconfirmed firewall rules back" in error.value.then
    provision.require_done([changed("Write")])


def test_a_run_that_did_not_come_to_its_end_is_no_success() -> None:
    last, failed = Event("result", playbook.LAST, host="app1"), Event("result", "x", host="data", outcome="failed")
    playbook.require_end([last, failed], ["app1", "data"])
    for events in ([], [changed("Write"), failed]):
        with pytest.raises(OpsError, match="did not come to its end on app1"):
            playbook.require_end(events, ["app1", "data"])
    assert f"name: {playbook.LAST}\n" in (ROOT / "infra/ansible/provision.yml").read_text().split("roles:")[-1]


def test_what_was_done_and_what_was_left_out() -> None:
    note = Event("result", "Say", host="app1", outcome="ok", message="swap: none")
    done = provision.summary("app1", [changed("Write"), changed("Write", host="data"), note])
    assert (done.changed, done.notes) == (["Write"], ["swap: none"])


@pytest.mark.parametrize(
    ("events", "result"),
    [
        ([], "UNKNOWN"),
        ([changed("Write", host="data")], "UNKNOWN"),
        ([Event("result", "Read", host="app1", outcome="ok")], "PASS"),
        ([changed("Write", "--- a\n+++ b\n-no\n+yes\n")], "FAIL"),
        ([changed("Write"), Event("result", "Read", host="app1", outcome="failed", message="no")], "UNKNOWN"),
        ([Event("result", "Read", host="app1", outcome="unreachable")], "UNKNOWN"),
    ],
)
def test_drift_is_judged_by_what_could_be_compared(events: list[Event], result: str) -> None:
    check = drift.judge("app1", events)
    assert check.result == result
    assert check.closes == (result != "PASS")
    if result == "FAIL":
        assert check.evidence == "Write\n  -no\n  +yes"


def test_only_servers_that_were_provisioned_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was begun is no PASS, one that was set up by hand is nobody's business."""
    kept = {"by-hand": [], "begun": ["README"], "done": ["README", "provisioned"]}
    hosts = [SimpleNamespace(name=n, listdir=lambda _, k=k: k, unlock=lambda: None) for n, k in kept.items()]
    monkeypatch.setattr(drift, "compare", lambda _, servers: [Check(server.name, "PASS") for server in servers])
    at = Environment(settings(), LocalHost(), cast(tuple[Host, ...], tuple(hosts)))
    checks = drift.examine(at, [*kept])
    assert [(check.asked, check.result) for check in checks] == [("begun: provisioning", "FAIL"), ("done", "PASS")]


def test_the_engine_is_the_one_that_bootstrap_installs() -> None:
    role = yaml.load((ROOT / "infra/ansible/roles/engine/defaults/main.yml").read_text())
    assert {name.lower(): packages for name, packages in role["engine_packages"].items()} == bootstrap.ENGINE_PACKAGES
    assert role["engine_newer_suite"] == bootstrap.NEWER_SUITE
    tasks = yaml.load((ROOT / "infra/ansible/roles/engine/tasks/main.yml").read_text())
    (updates,) = (task["ansible.builtin.copy"] for task in tasks if task.get("when") == "engine_from_newer")
    assert updates["content"].replace("{{ engine_newer_suite }}", bootstrap.NEWER_SUITE) == bootstrap.UPDATES
    assert updates["dest"] in (ROOT / "scripts/bootstrap.py").read_text()


def test_the_next_debian_is_pinned_before_it_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in between, `apt-get upgrade` would make Debian 12 half a 13."""
    tasks = yaml.load((ROOT / "infra/ansible/roles/engine/tasks/install.yml").read_text())[0]["block"]
    pin, added = (next(at for at, own in enumerate(tasks) if own["name"].startswith(name)) for name in ("Pin", "Add"))
    assert pin < added
    made = list[str]()
    monkeypatch.setattr(bootstrap, "own_mirror", lambda: "https://deb.example.org/debian")
    monkeypatch.setattr(bootstrap, "write_as_root", lambda path, _: made.append(path.parent.name))
    bootstrap.add_newer_suite()
    assert made.index("preferences.d") < made.index("sources.list.d")


@pytest.mark.parametrize(
    ("docker", "kept"),
    [("", False), ("exit 0", False), ("echo 1f3a", True), ("exit 1", True)],
    ids=["no docker", "an empty engine", "images", "an engine that does not answer"],
)
def test_images_are_not_hidden_by_another_store_where_nobody_could_see_them(
    tmp_path: Path, docker: str, kept: bool
) -> None:
    """The image store is switched where nothing is printed."""
    tasks = yaml.load((ROOT / "infra/ansible/roles/engine/tasks/settings.yml").read_text())
    script = tasks[0]["ansible.builtin.shell"]
    if docker:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    ran = subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert bool(ran.stdout.strip()) is kept


def task(role: str, name: str) -> dict[str, Any]:
    """Return the task of a role whose name begins so."""
    tasks = yaml.load((ROOT / f"infra/ansible/roles/{role}/tasks/main.yml").read_text())
    (one,) = (task for task in tasks if task["name"].startswith(name))
    return dict(one)


def printed(line: str, place: str, folder: Path, **way: str) -> str:
    """Run the line of a task with a folder in place of the host's."""
    ran = subprocess.run(["sh", "-c", line.replace(place, str(folder))], env={**os.environ, **way},
                         capture_output=True, text=True, check=True)  # fmt: skip
    return ran.stdout


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Match Address 10.0.0.0/8\n  PasswordAuthentication yes\n", ["passwordauthentication yes"]),
        ('match user bob\n\tPasswordAuthentication="yes"\n', ["passwordauthentication yes"]),
        ("Match Group adm\n  ChallengeResponseAuthentication yes\n", ["kbdinteractiveauthentication yes"]),
        ("Match Address ::1\n  PermitRootLogin prohibit-password\n", ["permitrootlogin without-password"]),
        ("Match User bob\n  # PasswordAuthentication yes\n  PasswordAuthentication no\n", []),
        ("PasswordAuthentication yes\n", []),
    ],
    ids=["address", "another account", "the old name", "root by key", "closed", "no block: sshd is asked"],
)
def test_what_a_match_block_of_others_lets_in_is_named(tmp_path: Path, text: str, named: list[str]) -> None:
    """`sshd -T` answers for one account and one address; a block may be of any other."""
    (tmp_path / "sshd_config.d").mkdir()
    (tmp_path / "sshd_config").write_text("UsePAM yes\n")
    (tmp_path / "sshd_config.d/00-ours.conf").write_text("Match User x\n")
    (tmp_path / "sshd_config.d/50-theirs.conf").write_text(text)
    lines = printed(task("sshd", "Ask for what Match")["ansible.builtin.command"], "/etc/ssh", tmp_path).splitlines()
    variables = task("sshd", "Refuse")["vars"]
    assert "+ sshd_blocks.stdout_lines" in variables["sshd_lines"]
    more = variables["sshd_more"].replace("{{ sshd_ours }}", "no$")
    assert [line for line in lines if re.match(more, line)] == named


def test_settings_of_sshd_are_tested_with_those_of_others_before_they_are_there(tmp_path: Path) -> None:
    """With `AuthenticationMethods publickey,keyboard-interactive` sshd would not start at the next reboot."""
    validate = task("sshd", "Let in keys")["ansible.builtin.template"]["validate"]
    for name, text in (("ours", "first\n"), ("sshd_config", "second\n"), ("sshd", "#!/bin/sh\ncat $3\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "sshd").chmod(0o755)
    line = validate.replace("%s", f"{tmp_path}/ours")
    assert printed(line, "/etc/ssh", tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin") == "first\nsecond\n"


def test_settings_that_sshd_has_not_read_are_taken_up(tmp_path: Path) -> None:
    """An earlier run was killed between the file and the reload; sshd writes its pid anew when it reads them."""
    asked = task("sshd", "Ask for settings that sshd has not read")
    line = asked["ansible.builtin.command"].replace("/run/sshd.pid", f"{tmp_path}/sshd.pid")
    (tmp_path / "sshd_config.d").mkdir()
    for name, time in (("sshd_config.d/00.conf", 5), ("sshd_config", 5), ("sshd_config.d", 5), ("sshd.pid", 6)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    assert not printed(line, "/etc/ssh", tmp_path)
    os.utime(tmp_path / "sshd_config.d/00.conf", (7, 7))
    assert printed(line, "/etc/ssh", tmp_path)
    assert (asked["changed_when"], asked["check_mode"]) == ("sshd_unread.stdout | length > 0", False)
    assert asked["notify"] == task("sshd", "Let in keys")["notify"]


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("", []),
        ('APT::Periodic::Enable "0";', ['APT::Periodic::Enable "0";']),
        ('apt::periodic::unattended-upgrade "0";', ['APT::Periodic::Unattended-Upgrade "0";']),
        ('APT::Periodic::Verbose "0";', []),
    ],
)
def test_updates_that_a_later_file_turns_off_are_named(tmp_path: Path, text: str, off: list[str]) -> None:
    own = task("system", "Turn security updates on")["ansible.builtin.copy"]["content"]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/20auto-upgrades").write_text(own)
    (tmp_path / "parts/99theirs").write_text(text + "\n")
    (tmp_path / "apt.conf").write_text(f'Dir::Etc::parts "{tmp_path}/parts";\n')
    line = task("system", "Ask apt whether")["ansible.builtin.command"]
    lines = printed(line, "/etc/apt", tmp_path, APT_CONFIG=str(tmp_path / "apt.conf")).splitlines()
    word = task("system", "Refuse settings")["vars"]["system_word"]
    assert [line for line in lines if re.match(word, line)] == off


def test_the_firewall_is_loaded_after_the_service_that_flushes_everybodys_rules() -> None:
    """Debian's nftables.service does, and some images have it enabled: both were free to come last."""
    text = (ROOT / "infra/ansible/roles/firewall/files/bookreader-ops-firewall.service").read_text()
    (after,) = re.findall(r"(?m)^After=(.*)$", text)
    assert "nftables.service" in after.split()


def test_builtin_modules_only() -> None:
    """A machine that runs `inv` has ansible-core from the lock, and no collection."""
    text = "\n".join(path.read_text() for path in (ROOT / "infra/ansible").rglob("*.yml"))
    modules = re.findall(r"(?m)^ *- name: .*\n +(\w+(?:\.\w+)*):", text)
    assert len(modules) > 40
    assert {module.rpartition(".")[0] for module in modules if module not in ("hosts", "when")} == {"ansible.builtin"}
