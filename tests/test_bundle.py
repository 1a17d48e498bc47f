"""`doctor --bundle` and `replay`: a real event, its bundle, and the same decisions again."""
from __future__ import annotations

import io
import json
import os
import stat
import sys
import tarfile
from pathlib import Path

import pytest

from running_agent import world
from tideover.cli.replay import replay_document, replay_lines
from tideover.doctor.bundle import read_recordings, without_secrets, write_bundle
from tideover.errors import WrongUseError
from tideover.lifecycle.replay import replay

SECRET = 'p1anted"Secret\\ü-0815'
FILE_SECRET = "p1anted-in-the-file-4711"
MEMBERS = {"README.txt", "about.json", "clock.json", "configuration.json", "doctor.json", "log.txt", "pauses.json",
           "records.json", "recording.jsonl", "status.json"}


def members_of(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as tar:
        return {one.name.removeprefix("tideover-bundle/"): tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_bundle_of_a_real_event_holds_what_support_needs_and_replays_to_the_same_phases_and_effects(tmp_path):
    with world(tmp_path) as it:
        it.hook("10-first")
        it.hook("20-second", 'echo "my settings are $TOKEN and $FILE_TOKEN"; [ $1 = prepare ] || [ -e HOME/again ] || { : > HOME/again; exit 75; }'
                .replace("HOME", str(tmp_path)))
        (tmp_path / "secrets").write_text(f"FILE_TOKEN={FILE_SECRET}\n")
        (tmp_path / "secrets").chmod(0o600)
        it.configure(f'[hook.second]\nenvironment = {{ TOKEN = {json.dumps(SECRET)} }}\nenvironment_file = "{tmp_path}/secrets"')
        it.start()
        event_id = it.live_through_freeze(stopped_s=2.5)
        made = it.command("doctor", "--bundle", str(tmp_path / "bundle.tar"))
        assert (made.returncode, made.stderr) == (0, ""), made
        record = it.record()
        bundle = tmp_path / "bundle.tar"
        again = it.command("replay", str(bundle))
        document = it.ask("replay", str(bundle))
        second = it.command("doctor", "--bundle", str(bundle))
        it.close()
        # Without an agent: all but its log.
        it.command("doctor", "--bundle", str(tmp_path / "without.tar"))
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert (second.returncode, "file exists" in second.stderr) == (2, True)
    members = members_of(bundle)
    documents = [name for name in members if name.startswith("documents/")]
    assert members.keys() - documents == MEMBERS
    assert "Scheduled" in members[documents[1]].decode()
    assert json.loads(members["records.json"])["events"][-1]["event_id"] == event_id
    assert json.loads(members["pauses.json"])["pauses"][-1]["length_s"] >= 2
    assert json.loads(members["clock.json"])["samples"]
    assert b"event.phase-changed" in members["log.txt"]
    assert json.loads(members["about.json"])["missing"] == {}
    for place in [bundle, tmp_path / "without.tar", *(tmp_path / "state").rglob("*"), tmp_path / "agent.log"]:
        for planted in (SECRET, FILE_SECRET):
            for spelt in (planted, json.dumps(planted)[1:-1], json.dumps(planted, ensure_ascii=False)[1:-1]):
                assert place.is_dir() or spelt.encode() not in place.read_bytes(), (place, spelt)
    assert b"my settings are ${TOKEN} and ${FILE_TOKEN}" in members["log.txt"]
    assert members_of(tmp_path / "without.tar").keys() >= members.keys()
    assert "log.txt" in json.loads(members_of(tmp_path / "without.tar")["about.json"])["missing"]

    assert again.returncode == 0, again
    assert "all as recorded" in again.stdout
    assert document["same"]
    phases = [row["what"] for row in record["timeline"] if row["what"] in {one["phase"] for one in document["phases"]}]
    assert [one["phase"] for one in document["phases"]] == phases
    runs = [f"{run['phase']} {run['name']}" for run in record["hooks"]]
    assert [one["effect"].partition(" (")[0] for one in document["effects"] if one["effect"].startswith(("prep", "recover"))] == runs
    assert runs == ["prepare first", "prepare second", "recover second", "recover second", "recover first"]
    print(f"{document['observations']} observations, {len(document['phases'])} phases, {len(document['effects'])} effects, "
          f"{bundle.stat().st_size} bytes")


@pytest.mark.slow
def test_an_event_whose_agent_was_killed_in_the_middle_replays_too(tmp_path):
    with world(tmp_path) as it:
        it.hook("10-first", "sleep 0.5")
        it.start()
        event_id = it.freeze()
        it.until(lambda: "first prepare" in it.begun())
        it.kill()
        it.start()
        it.until(lambda: it.record().get("started_at"))
        it.metadata.remove_event(event_id)
        it.until(lambda: it.record()["status"] == "closed")
        it.command("doctor", "--bundle", str(tmp_path / "bundle.tar"))
        document = it.ask("replay", str(tmp_path / "bundle.tar"))
    assert document["same"]
    assert [one["phase"] for one in document["phases"]][-1] == "closed"
    *_, segments = read_recordings(tmp_path / "bundle.tar")
    assert len(segments) == 2


@pytest.mark.slow
def test_a_bundle_is_made_beside_a_faulty_configuration_and_repeats_no_value_of_it(tmp_path):
    with world(tmp_path) as it:
        it.hook("10-first")
        it.start()
        config = tmp_path / "tideover.toml"
        good = config.read_text()
        for faulty in (f'[hook.first]\nenvironment = {{ TOKEN = {SECRET_NUMBER} }}', f'[hook.first]\nenvironment = "{FILE_SECRET}"',
                       f'[hook.first]\nenvironment = {{ TOKEN = "{FILE_SECRET} }}', f'[hook.first]\nenvironmentt = "{FILE_SECRET}"',
                       f'[hook.first]\nenvironment_file = "{FILE_SECRET}"'):
            config.write_text(good + faulty)
            bundle = tmp_path / f"{len(list(tmp_path.glob('*.tar')))}.tar"
            made = it.command("doctor", "--bundle", str(bundle))
            assert made.returncode == 0, made
            assert json.loads(members_of(bundle)["configuration.json"])["faults"]
            if "_file" not in faulty:
                assert FILE_SECRET.encode() not in bundle.read_bytes(), faulty
                assert str(SECRET_NUMBER).encode() not in bundle.read_bytes(), faulty


SECRET_NUMBER = 4711081547110815


def test_a_bundle_is_a_new_file_of_its_owner_alone_with_the_same_bytes_for_the_same_content(tmp_path):
    members = {"b.json": b"{}", "a.txt": b"text"}
    old = os.umask(0)
    try:
        write_bundle(tmp_path / "one.tar", members)
    finally:
        os.umask(old)
    write_bundle(tmp_path / "two.tar", dict(reversed(members.items())))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert stat.S_IMODE((tmp_path / "one.tar").stat().st_mode) == 0o600
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert [(one.name, one.mode, one.uid, one.mtime, one.uname) for one in tar] == [
            ("tideover-bundle/a.txt", 0o600, 0, 0, ""), ("tideover-bundle/b.json", 0o600, 0, 0, "")]
    with pytest.raises(WrongUseError, match="file exists"):
        write_bundle(tmp_path / "one.tar", members)
    with pytest.raises(WrongUseError, match="no such file"):
        write_bundle(tmp_path / "nowhere" / "one.tar", members)


def test_a_secret_is_hidden_however_it_is_spelt():
    content = f"{SECRET} {json.dumps(SECRET)} {json.dumps(SECRET, ensure_ascii=False)}".encode()
    assert without_secrets(content, [SECRET]) == b'(hidden) "(hidden)" "(hidden)"'


@pytest.mark.parametrize(("content", "why"), [
    (b"no tar at all", "it is no bundle"), (b"", "it is no bundle"), (None, "no such file"),
    ({"other.txt": b""}, "it has no recording.jsonl"), ({"recording.jsonl": b"{"}, "its recording cannot be read"),
    ({"recording.jsonl": b"\xff"}, "cannot be read"), ({"recording.jsonl": b"[1]\n"}, "cannot be read"),
    ({"recording.jsonl": b'{"stretch":1,"segment":1,"row":{"state":{}}}\n{"stretch":1,"segment":1,"row":{"now":{"utc":'
                         b'"2026-11-20T10:00:00+00:00","raw_s":1},"seen":"NewKind","value":{},"entries":[],"effects":{},'
                         b'"ended":[]}}\n'}, "NewKind is unknown to this version")])
def test_what_is_no_bundle_of_this_version_is_refused_with_a_sentence(tmp_path, content, why):
    path = tmp_path / "bundle.tar"
    if isinstance(content, dict):
        write_bundle(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUseError, match=why):
        read_recordings(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="reads as another user, which root can become")
def test_a_bundle_of_another_user_is_refused_with_the_way_to_read_it(tmp_path):
    """As after `sudo tideover doctor --bundle`."""
    write_bundle(tmp_path / "bundle.tar", {})
    os.seteuid(65534)
    try:
        with pytest.raises(WrongUseError, match="permission denied") as refused:
            read_recordings(tmp_path / "bundle.tar")
    finally:
        os.seteuid(0)
    assert refused.value.hint == "Run as the user who wrote it, or as root."


def test_a_bundle_of_a_machine_without_events_says_that_nothing_is_recorded(tmp_path):
    write_bundle(tmp_path / "bundle.tar", {"recording.jsonl": b""})
    stretches = [[replay(one) for one in segments] for segments in read_recordings(tmp_path / "bundle.tar")]
    assert replay_lines(stretches) == ["Nothing is recorded: no event has been seen."]
    assert replay_document(stretches)["same"]


def test_a_bundle_cannot_make_replay_read_or_write_elsewhere(tmp_path):
    """Nothing is ever unpacked: a link in the place of the recording leads nowhere, also not to itself for ever."""
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.SYMTYPE, "recording.jsonl"), (tarfile.LNKTYPE, "/etc/passwd"),
                         (tarfile.FIFOTYPE, ""), (tarfile.DIRTYPE, "")):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            link = tarfile.TarInfo("tideover-bundle/recording.jsonl")
            link.type, link.linkname = kind, target
            tar.addfile(link)
        (tmp_path / "bundle.tar").write_bytes(packed.getvalue())
        with pytest.raises(WrongUseError, match="it has no recording"):
            read_recordings(tmp_path / "bundle.tar")


@pytest.mark.skipif(sys.platform == "win32", reason="devices and pipes as files")
def test_a_device_or_a_pipe_in_the_place_of_a_bundle_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(WrongUseError, match="not a regular file"):
            read_recordings(path)


def test_a_bundle_that_was_compressed_afterwards_is_not_unpacked_into_memory(tmp_path):
    """400 MB of zeros are a file of 400 kB."""
    with tarfile.open(tmp_path / "bundle.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("tideover-bundle/recording.jsonl"))
    with pytest.raises(WrongUseError, match="it is no bundle"):
        read_recordings(tmp_path / "bundle.tar")
