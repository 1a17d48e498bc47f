"""apt itself, without a terminal: installs from the signed repository, upgrades, removes and purges."""
import shutil
import tempfile
from pathlib import Path

import pytest
from apt_repository import SOURCE, repository
from deb_build import newer
from nspawn_machine import SHOWS_ITS_BOOT_ID

pytestmark = pytest.mark.slow
DROP_IN = '[source]\nkind = "azure"\npoll = "100ms"\n[pause]\nsettle = "500ms"\n[log]\nlevel = "warning"\n'
UNATTENDED = "env -u DEBIAN_FRONTEND apt-get -y -q"
"""Without a terminal, with closed standard input, and without being told that nobody is there."""
HOOK = "#!/bin/sh\necho $1 $TIDEOVER_REASON >> /root/lines\n"


@pytest.fixture
def offered(package, machine):
    """A machine whose only source of packages is our repository, on a path that its apt may read."""
    if shutil.which("gpg") is None or shutil.which("gpg-agent") is None:
        pytest.skip("not installed: gpg, gpg-agent (tests/packaging/packages.txt)")
    here, metadata = machine
    with tempfile.TemporaryDirectory(prefix="apt-") as home, repository(Path(home), package) as made:
        here.put("/etc/apt/sources.list", "")
        here.put("/etc/apt/sources.list.d/tideover.sources", SOURCE.format(address="file:/srv/packages"))
        (here.root / "etc/apt/keyrings").mkdir(mode=0o755, exist_ok=True)
        shutil.copy(made.directory / "tideover.gpg", here.root / "etc/apt/keyrings")
        publish(here, made)
        yield here, metadata, made


def publish(here, made):
    shutil.rmtree(here.root / "srv/packages", ignore_errors=True)
    shutil.copytree(made.directory, here.root / "srv/packages")
    (here.root / "srv/packages").chmod(0o755)


def apt(here, words, **options):
    return here.run(f"{UNATTENDED} {words} <&-", **options)


def version(here):
    return here.run("dpkg-query -W -f '${Version}' tideover")


def test_apt_installs_from_the_signed_repository_and_from_no_other(offered):
    """Neither without the signature's key nor after one byte was changed."""
    here, _, _ = offered
    assert "Err:" not in apt(here, "update") and "W:" not in apt(here, "update")
    key = here.root / "etc/apt/keyrings/tideover.gpg"
    known = key.read_bytes()
    key.unlink()
    assert "not signed" in apt(here, "update", check=False) or "NO_PUBKEY" in apt(here, "update", check=False)
    key.write_bytes(known)
    index = here.root / "srv/packages/dists/stable/InRelease"
    genuine = index.read_bytes()
    index.write_bytes(genuine.replace(b"Suite: stable", b"Suite: stably"))
    assert "BADSIG" in apt(here, "update", check=False)
    index.write_bytes(genuine)
    apt(here, "update")
    [pool] = (here.root / "srv/packages/pool").rglob("*.deb")
    good = pool.read_bytes()
    pool.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "Hash Sum mismatch" in apt(here, "install tideover", check=False)
    pool.write_bytes(good)
    apt(here, "install tideover")
    assert here.told("ActiveState") == {"ActiveState": "active"}
    assert "/srv/packages" in here.run("apt-cache policy tideover")


def test_the_whole_life_of_an_installation_passes_without_a_question(offered, package, tmp_path):
    """Install, configure by a drop-in, upgrade with an edited configuration in the middle of an event, remove, purge."""
    here, metadata, made = offered
    here.put("/etc/systemd/system/tideover.service.d/container.conf", SHOWS_ITS_BOOT_ID)
    apt(here, "update")
    apt(here, "install tideover")
    first = version(here)
    here.put("/etc/tideover/conf.d/50-site.toml", DROP_IN)
    here.put("/etc/tideover/hooks.d/10-app", HOOK, 0o755)
    shipped = here.text("/etc/tideover/tideover.toml")
    edited = shipped + '[hooks]\ntimeout = "33s"\n'
    here.put("/etc/tideover/tideover.toml", edited)
    here.run("systemctl restart tideover")
    shown = here.run("tideover config show")
    assert "/etc/tideover/conf.d/50-site.toml" in shown and "/etc/tideover/tideover.toml" in shown
    assert shipped and not any(line and not line.startswith("#") for line in shipped.splitlines())
    metadata.add_event("Freeze", not_before_in_s=600)
    here.until(lambda: metadata.acknowledgements)

    made.add(newer(package, tmp_path))
    publish(here, made)
    apt(here, "update")
    said = apt(here, "dist-upgrade")
    assert version(here) == f"{first}+later" and "Configuration file" not in said
    assert here.text("/etc/tideover/tideover.toml") == edited and here.text("/etc/tideover/conf.d/50-site.toml") == DROP_IN
    assert here.text("/usr/share/tideover/tideover.toml").endswith("# Another line.\n")
    assert not list((here.root / "etc/tideover").rglob("*.dpkg-*"))
    assert here.told("ActiveState") == {"ActiveState": "active"} and here.text("/root/lines") == "prepare\n"
    assert first in here.run("apt-cache madison tideover"), "the earlier version can still be had"

    assert "Recovered: app." in apt(here, "remove tideover")
    assert here.text("/root/lines") == "prepare\nrecover cancelled\n" and here.text("/etc/tideover/tideover.toml") == edited
    apt(here, "purge tideover")
    assert not (here.root / "etc/tideover").exists() and not (here.root / "var/lib/tideover").exists()
    assert "no packages found" in here.run("dpkg-query -W tideover", check=False)
    assert here.run("systemctl --failed --no-legend").strip() == ""


def test_a_configuration_file_that_was_deleted_stays_deleted_and_one_that_is_there_before_the_package_is_kept(offered, package, tmp_path):
    here, _, made = offered
    ours = '[source]\nkind = "none"\n'
    here.put("/etc/tideover/tideover.toml", ours)
    apt(here, "update")
    apt(here, "install tideover")
    assert here.text("/etc/tideover/tideover.toml") == ours
    (here.root / "etc/tideover/tideover.toml").unlink()
    made.add(newer(package, tmp_path))
    publish(here, made)
    apt(here, "update")
    apt(here, "dist-upgrade")
    assert not (here.root / "etc/tideover/tideover.toml").exists() and here.told("ActiveState") == {"ActiveState": "active"}
