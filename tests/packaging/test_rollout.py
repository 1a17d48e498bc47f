"""Many machines: the Ansible role and the cloud-init file, each applied to a machine that has only what clouds' images have."""
import shutil
import tempfile
from pathlib import Path

import nspawn_machine
import pytest
from ansible_played import Controller
from apt_repository import repository
from deb_build import TOP, newer
from nspawn_machine import MANAGED, SHOWS_ITS_BOOT_ID

pytestmark = pytest.mark.slow
TOOLS = ("ansible-playbook", "ssh", "ssh-keygen", "gpg", "gpg-agent")
CLOUD_INIT = TOP / "packaging/cloud-init/tideover.yaml"
CONFIGURATION = '[source]\nkind = "azure"\npoll = "100ms"\n[hook.webhook]\nrequired = false\nenvironment_file = "/etc/tideover/webhook.env"\n'
HOOK = "#!/bin/sh\necho $1 $TIDEOVER_REASON >> /root/lines\n"
ADDRESS = "file:/srv/packages"
CLOUD = "datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\napt: {preserve_sources_list: true}\nlocale: false\n"
"""What the image of a cloud says to its cloud-init."""


def require_tools():
    why_not = nspawn_machine.why_not()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if why_not or missing:
        pytest.skip(why_not or f"not installed: {', '.join(missing)} (tests/packaging/packages.txt)")


@pytest.fixture
def offered(package):
    """The repository, and where a machine has it."""
    require_tools()
    with tempfile.TemporaryDirectory(prefix="apt-") as home, repository(Path(home), package) as made:
        yield made


def publish(root, made):
    shutil.rmtree(root / "srv/packages", ignore_errors=True)
    shutil.copytree(made.directory, root / "srv/packages")
    (root / "srv/packages").chmod(0o755)
    (root / "etc/apt/sources.list").write_text("")


def test_the_ansible_role_installs_configures_upgrades_and_removes_and_a_second_run_changes_nothing(offered, package, tmp_path):
    controller = Controller(tmp_path)
    hook = tmp_path / "60-app"
    hook.write_text(HOOK)
    wanted = {"tideover_repository": ADDRESS, "tideover_repository_key": str(offered.directory / "tideover.gpg"),
              "tideover_configuration": CONFIGURATION, "tideover_environment_files": {"webhook": "URL=http://127.0.0.1:1/\n"},
              "tideover_library_hooks": ["webhook"], "tideover_own_hooks": [str(hook)]}

    def before_boot(root):
        controller.admit(root)
        publish(root, offered)
        (root / "etc/cloud/cloud-init.disabled").touch()

    with nspawn_machine.machine(MANAGED, before_boot) as (here, metadata):
        here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)
        changed, _ = controller.apply(here, wanted)
        assert changed > 5 and here.told("ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
        assert here.run("tideover config check") and "/etc/tideover/conf.d/50-ansible.toml" in here.run("tideover config show")
        assert (here.root / "etc/tideover/webhook.env").stat().st_mode & 0o777 == 0o600
        assert {path.name for path in (here.root / "etc/tideover/hooks.d").iterdir()} == {"10-webhook", "60-app"}
        changed, said = controller.apply(here, wanted)
        assert changed == 0, said

        faulty = {**wanted, "tideover_configuration": CONFIGURATION + "[hooks]\ntimeoutt = 3\n"}
        _, said = controller.apply(here, faulty, succeeds=False)
        assert "hooks.timeoutt" in said and here.text("/etc/tideover/conf.d/50-ansible.toml") == CONFIGURATION

        metadata.add_event("Freeze", not_before_in_s=600)
        here.until(lambda: metadata.acknowledgements)
        offered.add(newer(package, tmp_path))
        publish(here.root, offered)
        changed, said = controller.apply(here, {**wanted, "tideover_state": "latest"})
        assert changed == 1 and "+later" in here.run("dpkg-query -W tideover"), said
        assert here.told("ActiveState") == {"ActiveState": "active"} and here.text("/root/lines") == "prepare\n"

        controller.apply(here, {"tideover_state": "absent"})
        assert here.text("/root/lines") == "prepare\nrecover cancelled\n"
        assert (here.root / "var/lib/tideover/journal.db").exists() and here.text("/etc/tideover/conf.d/50-ansible.toml") == CONFIGURATION
        controller.apply(here, {"tideover_state": "purged"})
        assert not (here.root / "etc/tideover").exists() and not (here.root / "var/lib/tideover").exists()
        changed, said = controller.apply(here, {"tideover_state": "purged"})
        assert changed == 0, said

        from_a_file = {"tideover_deb": str(package), "tideover_configuration": CONFIGURATION + "[hooks]\ntimeoutt = 3\n"}
        _, said = controller.apply(here, from_a_file, succeeds=False)
        assert "hooks.timeoutt" in said, "told although the program was not there yet when the file was written"
        from_a_file["tideover_configuration"] = ""
        controller.apply(here, from_a_file)
        assert here.told("ActiveState") == {"ActiveState": "active"} and not (here.root / "etc/tideover/conf.d/50-ansible.toml").exists()
        changed, said = controller.apply(here, from_a_file)
        assert changed == 0, said


def test_cloud_init_installs_and_configures_the_agent_at_the_first_boot(offered):
    """The file as it is shipped, with the address and the key put in."""
    written = CLOUD_INIT.read_text()
    block = written[written.index("      -----BEGIN"):written.index("  - path: /etc/apt/sources.list.d")]
    key = "".join(f"      {line}".rstrip() + "\n" for line in (offered.directory / "tideover.asc").read_text().splitlines())
    user_data = written.replace(block, key).replace("https://packages.example.com/tideover", ADDRESS)

    def before_boot(root):
        publish(root, offered)
        seed = root / "var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True)
        (seed / "meta-data").write_text("instance-id: first\n")
        (seed / "user-data").write_text(user_data)
        (root / "etc/cloud/cloud.cfg.d/90-image.cfg").write_text(CLOUD)

    with nspawn_machine.machine(MANAGED, before_boot) as (here, _):
        said = here.run("cloud-init status --wait --long", check=False)
        assert "status: done" in said, said + here.run("grep -E 'WARN|ERROR|Traceback' /var/log/cloud-init.log", check=False)
        assert here.told("ActiveState", "UnitFileState", "NRestarts") == {"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}
        assert "/etc/tideover/conf.d/50-cloud-init.toml" in here.run("tideover config show")
        assert "app" in here.run("tideover hooks list") and here.run("tideover hooks check")
        assert here.journal().count("agent.started") == 1, "its first start had all of it"
        here.put("/root/user-data", written)
        assert "Valid" in here.run("cloud-init schema --config-file /root/user-data")
