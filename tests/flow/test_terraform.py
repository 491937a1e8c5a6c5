"""The modules of infra/terraform by terraform itself, and by their text: no cloud is asked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from deploy.config.kinds import EnvName, Name
from deploy.config.settings import ROOT
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.provisioning import imported
from tests.support import terraform
from tests.support.terraform import MODULES

NAMES = ["aws", "hetzner"]
WORDS = ["app1", "a", "1a", "a_b", "a-b", "A", "", "-a", "a b", "a" * 31, "a" * 32, "../a"]
BLOCK = re.compile(r'(?m)^(variable|output|resource|data) "(\w+)"(?: "(\w+)")?')
# var.x, local.x, data.type.name, type_of.name
USED = re.compile(r"\b(var|local|data\.\w+|(?:aws|hcloud)_\w+)\.(\w+)")


def texts(name: str) -> str:
    """All files of a module, without comments."""
    joined = "\n".join(path.read_text() for path in sorted((MODULES / name).glob("*.tf")))
    return re.sub(r"(?m)(^|\s)#.*$", "", joined)


def declared(name: str) -> set[str]:
    """What a module declares, as it is referred to."""
    text = texts(name)
    blocks = BLOCK.findall(text)
    forms = {"variable": "var.{0}", "output": "output.{0}", "resource": "{0}.{1}", "data": "data.{0}.{1}"}
    values = "".join(re.findall(r"(?ms)^locals \{\n(.*?)^\}", text))
    own = {f"local.{one}" for one in re.findall(r"(?m)^  (\w+) += ", values)}
    return own | {forms[kind].format(first, second) for kind, first, second in blocks}


def test_the_modules_are_formatted() -> None:
    terraform.require_terraform()
    checked = subprocess.run(
        ["terraform", f"-chdir={MODULES}", "fmt", "-check", "-recursive", "-diff"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_module_of_aws_is_valid_and_its_own_tests_pass(tmp_path: Path) -> None:
    aws = terraform.copied("aws", tmp_path)
    aws.do("validate", "-no-color")
    output = aws.do("test", "-no-color")
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", output), output


# no provider is needed for what is known beforehand, so this is quick
OUTPUTS = """
output "environment" { value = "prod" }
output "hosts" {
  value = [{ name = "app1", address = "10.0.0.1", private = "10.9.0.1", roles = toset(["edge", "app"]) }]
}
output "password" {
  value     = "hunter2"
  sensitive = true
}
"""


def test_what_terraform_prints_is_what_is_imported(tmp_path: Path) -> None:
    terraform.require_terraform()
    (tmp_path / "outputs.tf").write_text(OUTPUTS)
    terraform.Terraform(tmp_path).do("apply", "-auto-approve", "-input=false")
    output = imported.parse(imported.read(str(tmp_path), LocalHost()))
    assert [host.table for host in output.hosts.value] == [
        {"address": "10.0.0.1", "private": "10.9.0.1", "roles": ["app", "edge"]}
    ]
    assert "hunter2" not in repr(output)


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_the_same_for_every_provider_and_fits_the_settings(name: str) -> None:
    contract = (MODULES / name / "contract.tf").read_text()
    assert contract == (MODULES / "aws" / "contract.tf").read_text()
    outputs = [{one for one in declared(module) if one.startswith("output.")} for module in (name, "aws")]
    assert outputs[0] == outputs[1]
    assert {f"output.{key}" for key in imported.Output.model_fields} <= outputs[0]
    roles: list[str] = Server.model_fields["roles"].default
    assert contract.count("[" + ", ".join(f'"{role}"' for role in roles) + "]") == 2
    patterns = re.findall(r'regex\("(.+?)", (?:name|var\.app|var\.environment)\)', contract)
    assert len(patterns) == 3
    for pattern, kind in zip(patterns, (Name, EnvName, Name), strict=True):
        for word in WORDS:
            assert bool(re.match(pattern, word)) == fits(kind, word), (pattern, word)


def fits(kind: Any, word: str) -> bool:
    """Tell whether the settings would take a name."""
    try:
        TypeAdapter(kind).validate_python(word)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_what_a_module_refers_to_is_there_and_what_is_there_is_used(name: str) -> None:
    own, used = declared(name), {f"{kind}.{what}" for kind, what in USED.findall(texts(name))}
    assert used - own == set()
    assert {one for one in own if one.startswith(("var.", "local.", "data."))} - used == set()


def test_no_state_and_no_secret_is_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "infra"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert f"infra/terraform/{NAMES[0]}/contract.tf" in listed
    assert [path for path in listed if re.search(r"tfstate|\.tfplan|(^|/)\.terraform/|crash\.log", path)] == []
    paths = ["aws/terraform.tfstate", "aws/terraform.tfstate.d/prod/terraform.tfstate", "aws/.terraform/x", "a.tfplan"]
    for path in paths:
        ignored = subprocess.run(["git", "check-ignore", "-q", f"infra/terraform/{path}"], cwd=ROOT)
        assert ignored.returncode == 0, path
    for name in NAMES:
        assert not re.search(
            r'(?i)\b(\w*_)?(secret|password|token|private_key|access_key)(_\w+)? *= *"|sensitive *= *true', texts(name)
        )


def test_the_lock_file_holds_hashes_of_one_provider_and_no_other_address() -> None:
    locks = [*MODULES.rglob(".terraform.lock.hcl")]
    assert [lock.parent.name for lock in locks] == ["aws"], "Hetzner's provider was at nobody's hand"
    kept = re.sub(r"(?m)^#.*\n|^ +\"(h1|zh):[\w+/=]+\",\n", "", locks[0].read_text())
    assert re.findall(r'"([^"]*)"', kept)[0] == "registry.terraform.io/hashicorp/aws"
    assert "http" not in kept
    assert len(kept.split()) < 20, kept


def test_every_module_fills_in_which_disk_is_mounted() -> None:
    assert (MODULES / "volume.sh").read_text().count("@") == 2, "one place to fill in"
    assert all('file("${path.module}/../volume.sh"), "@DISK@", ' in texts(name) for name in NAMES)


@pytest.mark.parametrize("content", ["blank", "data", "data that a second signature hides"])
def test_only_a_blank_volume_is_formatted(tmp_path: Path, content: str) -> None:
    """With files for the disk, fstab and the folder: whatever signatures it has, data stays."""
    disk, programs = tmp_path / "disk", tmp_path / "bin"
    with disk.open("wb") as file:
        file.truncate(1 << 26)
        if content != "blank":
            file.seek(0x438)
            file.write(b"\x53\xef")  # https://www.kernel.org/doc/html/latest/filesystems/ext4/super.html
        if "second" in content:
            file.seek(0x10040)
            file.write(b"_BHRfS_M")  # btrfs was there before
    programs.mkdir()
    for name in ("mkfs.ext4", "mount", "systemctl"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/done\n")
        (programs / name).chmod(0o755)
    script = (MODULES / "volume.sh").read_text()
    places = {"/dev/disk/by-id/@DISK@": disk, "/etc/fstab": tmp_path / "fstab", "/var/lib": tmp_path / "lib"}
    for own, stand_in in {**places, "[ -b ": "[ -f "}.items():
        script = script.replace(own, str(stand_in))
    path = f"{programs}:/usr/sbin:/sbin:/usr/bin:/bin"
    subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True)
    ran = (tmp_path / "done").read_text().split()
    assert ran == [*(["mkfs.ext4"] if content == "blank" else []), "systemctl", "mount"]
    assert "x-systemd.required-by=docker.service" in (tmp_path / "fstab").read_text(), "no data, no engine"
