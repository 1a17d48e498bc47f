"""What counts as a hook, in which order, and whose files are never run."""
from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tideover.daemon.policy_source import catalogue_of, policy_of
from tideover.hooks.directory import Catalogue, read_catalogue
from tideover.hooks.posix_trust import trusted_users, why_untrusted
from tideover.model import Kind
from tideover.settings import LINUX, HookOptions, default_settings, options_for, read as read_settings

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def described(name: str) -> HookOptions:
    return options_for(default_settings(), name)


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    directory = tmp_path / "hooks.d"
    directory.mkdir()
    directory.chmod(0o755)
    return directory


def put(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def read(hooks: Path) -> Catalogue:
    return read_catalogue(hooks, described)


def refusal(hooks: Path) -> str:
    found = read(hooks).hooks
    assert len(found) == 1
    return found[0].refused or ""


def test_hooks_come_by_number_and_then_by_name(hooks: Path) -> None:
    for file in ("50-a", "10-z", "10-b2", "00-last-but-first"):
        put(hooks / file)
    assert [(hook.order, hook.name) for hook in read(hooks).hooks] == [
        (0, "last-but-first"), (10, "b2"), (10, "z"), (50, "a")]


def test_a_hook_takes_its_settings_by_its_name(hooks: Path) -> None:
    put(hooks / "10-haproxy")
    wanted = HookOptions({}, None, kinds=frozenset({Kind.REBOOT}), min_pause_s=3.0, timeout_s=20.0, required=False, user="root", umask=0o022)
    hook = read_catalogue(hooks, {"haproxy": wanted}.__getitem__).hooks[0]
    assert (hook.kinds, hook.min_pause_s, hook.timeout_s, hook.required, hook.user) == (
        wanted.kinds, 3.0, 20.0, False, "root")
    assert hook.path == str(hooks / "10-haproxy")


def test_a_hook_without_its_environment_file_is_a_fault_and_can_still_recover(hooks: Path) -> None:
    """`hooks check`, the doctor and the start's log name it; its entry is not refused, for that would stop recover."""
    put(hooks / "10-web")
    wanted = replace(described("web"), environment_file=str(hooks.parent / "web.env"))
    found = read_catalogue(hooks, lambda name: wanted)
    assert [(spec.name, spec.refused) for spec in found.hooks] == [("web", None)]
    [(path, why)] = found.faults
    assert path == str(hooks / "10-web") and why.startswith(f"environment_file {hooks.parent}/web.env cannot be read")
    put(hooks.parent / "web.env", 0o600).write_text("A=b\n")
    assert read_catalogue(hooks, lambda name: wanted).faults == ()


def test_a_file_without_its_run_bit_is_disabled(hooks: Path) -> None:
    put(hooks / "10-off", 0o644)
    found = read(hooks)
    assert (found.hooks, found.disabled) == ((), ("10-off",))


@pytest.mark.parametrize("file", [
    "10-a~", "10-a.bak", "10-a.dpkg-old", "10-a.dpkg-new", "10-a.ucf-dist", "10-a.rpmnew", "10-a.rpmsave", ".10-a.swp",
    "10-a.swp", "#10-a#", ".gitkeep", "10-a.orig"])
def test_leftovers_of_editors_and_packages_are_passed_over_in_silence(hooks: Path, file: str) -> None:
    put(hooks / file)
    assert read(hooks) == Catalogue()


@pytest.mark.parametrize("file", ["1-a", "100-a", "10-A", "10-a.sh", "10_a", "README", "10-", "10-a\n", "١٠-a"])
def test_a_file_of_another_name_is_no_hook_and_that_is_reported(hooks: Path, file: str) -> None:
    put(hooks / file)
    found = read(hooks)
    assert not found.hooks
    assert "NN-name" in found.ignored[0][1]
    assert found.ignored[0][0].isprintable()


def test_a_directory_is_no_hook(hooks: Path) -> None:
    (hooks / "10-a").mkdir()
    assert read(hooks).ignored == (("10-a", "it is not a regular file"),)


def test_the_second_file_of_one_name_is_refused(hooks: Path) -> None:
    """In the order of the directory; a disabled one has no name to take."""
    put(hooks / "05-web", 0o644)
    put(hooks / "10-web")
    put(hooks / "20-web")
    first, second = read(hooks).hooks
    assert (first.order, first.refused) == (10, None)
    assert second.refused is not None
    assert "10-web" in second.refused


def test_a_file_with_the_name_of_an_application_is_refused_and_the_application_keeps_its_name(hooks: Path) -> None:
    for file in ("10-web", "20-database"):
        put(hooks / file)
    settings = read_settings(f'[application.web]\norder = 50\n[paths]\nhooks = "{hooks}"\n'.encode(),
                             file="tideover.toml", defaults=LINUX).settings
    catalogue = catalogue_of(settings)
    assert dict(catalogue.faults) == {
        str(hooks / "10-web"): "[application.web] has the name web already: rename the file or the table"}
    assert [(spec.name, spec.is_application, spec.refused is None) for spec in policy_of(settings, catalogue).hooks] == [
        ("10-web", False, False), ("database", False, True), ("web", True, True)]


def test_windows_tells_programs_by_their_suffix(hooks: Path) -> None:
    for file in ("10-a.cmd", "20-b.ps1", "30-c"):
        put(hooks / file)
    found = read_catalogue(hooks, described, (".cmd", ".exe", ".py", ".ps1"))
    assert [hook.name for hook in found.hooks] == ["a", "b"]
    assert found.ignored[0][0] == "30-c"


@pytest.mark.parametrize("made", ["a file", "a link in a circle", "a link to nothing"])
def test_a_directory_that_cannot_be_read_is_one_refused_hook(tmp_path: Path, made: str) -> None:
    """It may hold any hook: without the refusal the event would be acknowledged with nothing prepared."""
    home = tmp_path / "hooks.d"
    if made == "a file":
        home.touch()
    else:
        home.symlink_to(home if made == "a link in a circle" else tmp_path / "gone")
    found = read(home)
    assert not found.is_readable and len(found.hooks) == 1
    assert str(home) in (found.hooks[0].refused or "") and "cannot be read" in (found.hooks[0].refused or "")
    assert found.hooks[0].required and Kind.FREEZE in found.hooks[0].kinds and found.faults


def test_no_directory_is_an_empty_catalogue_with_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path / "nowhere\x1b[2J")
    assert found.hooks == ()
    assert "No such file" in found.warnings[0]
    assert found.warnings[0].isprintable()


def test_a_user_that_does_not_exist_is_refused(hooks: Path) -> None:
    put(hooks / "10-a")
    hook = read_catalogue(hooks, lambda name: replace(described(name), user="no-such-user")).hooks[0]
    assert "no-such-user does not exist" in (hook.refused or "")


def test_looking_at_ten_hooks_takes_about_no_time(hooks: Path) -> None:
    for number in range(10, 20):
        put(hooks / f"{number}-hook{number}")
    began = time.process_time()
    for _ in range(10):
        assert len(read(hooks).hooks) == 10
    assert (time.process_time() - began) / 10 < 0.05


# ---- whose files are never run ----

WRITABLE = [
    ("hooks.d/10-a", 0o1777), ("hooks.d/10-a", 0o775), ("hooks.d/10-a", 0o757), ("hooks.d", 0o775), ("hooks.d", 0o777),
    (".", 0o777)]


@pytest.mark.parametrize(("step", "mode"), WRITABLE)
def test_what_others_can_write_is_refused_and_the_hint_corrects_it(hooks: Path, step: str, mode: int) -> None:
    """Each step of the path counts. What the sentence says to do makes the hook acceptable."""
    put(hooks / "10-a")
    assert refusal(hooks) == ""
    (hooks.parent / step).chmod(mode)
    sentence = refusal(hooks)
    command = shlex.split(sentence.rpartition(": ")[2])
    assert command[0] == "chmod"
    subprocess.run(command, check=True)
    assert refusal(hooks) == ""


@as_root
@pytest.mark.parametrize("step", ["hooks.d/10-a", "hooks.d"])
def test_what_belongs_to_another_user_is_refused_and_the_hint_corrects_it(hooks: Path, step: str) -> None:
    put(hooks / "10-a")
    os.chown(hooks.parent / step, NOBODY, NOBODY)
    sentence = refusal(hooks)
    assert str(NOBODY) in sentence
    subprocess.run(shlex.split(sentence.rpartition(": ")[2]), check=True)
    assert refusal(hooks) == ""


def test_a_link_is_followed_to_a_safe_file(hooks: Path) -> None:
    library = hooks.parent / "library"
    library.mkdir(mode=0o755)
    put(library / "haproxy")
    (hooks / "10-haproxy").symlink_to("../library/./haproxy")
    assert refusal(hooks) == ""
    library.chmod(0o777)
    assert f"chmod go-w {library}" in refusal(hooks)


def test_the_directories_of_each_link_on_the_way_count(hooks: Path) -> None:
    """hooks.d/10-a → between/link → library/file: who can write `between` chooses what is run."""
    between, library = hooks.parent / "between", hooks.parent / "library"
    for made in (between, library):
        made.mkdir(mode=0o755)
    put(library / "file")
    (between / "link").symlink_to(library / "file")
    (hooks / "10-a").symlink_to(between / "link")
    assert refusal(hooks) == ""
    between.chmod(0o757)
    assert f"chmod go-w {between}" in refusal(hooks)


def test_a_linked_directory_on_the_way_is_followed_too(hooks: Path) -> None:
    put(hooks / "10-a")
    outside = hooks.parent / "outside"
    outside.symlink_to(hooks)
    assert read(outside).hooks[0].refused is None
    hooks.chmod(0o777)
    assert read(outside).hooks[0].refused is not None


def test_a_link_to_nothing_is_refused_not_forgotten(hooks: Path) -> None:
    """Its owner wants it to run: passed over in silence, the platform would be to go ahead without it."""
    (hooks / "10-a").symlink_to("gone")
    assert "link is broken" in refusal(hooks)


def test_a_loop_of_links_is_refused(hooks: Path) -> None:
    (hooks / "10-a").symlink_to("10-a")
    assert "links" in refusal(hooks)
    with pytest.raises(OSError, match="links"):
        why_untrusted(str(hooks / "10-a"), trusted_users(), set())


@as_root
def test_a_sticky_directory_of_roots_is_safe_and_one_of_others_is_not(hooks: Path) -> None:
    """As /tmp: others may put files there, but not replace ours. The owner of the directory may."""
    hooks.parent.chmod(0o1777)
    put(hooks / "10-a")
    assert refusal(hooks) == ""
    os.chown(hooks.parent, NOBODY, NOBODY)
    assert refusal(hooks) != ""
    assert why_untrusted(str(hooks / "10-a"), frozenset({0, NOBODY}), set()) is not None


@as_root
def test_a_link_of_another_user_in_a_sticky_directory_is_refused(hooks: Path) -> None:
    hooks.chmod(0o1777)
    put(hooks.parent / "file")
    (hooks / "10-a").symlink_to(hooks.parent / "file")
    assert refusal(hooks) == ""
    os.lchown(hooks / "10-a", NOBODY, NOBODY)
    sentence = refusal(hooks)
    subprocess.run(shlex.split(sentence.rpartition(": ")[2]), check=True)
    assert refusal(hooks) == ""


@as_root
def test_an_agent_of_an_ordinary_user_trusts_that_user_and_root() -> None:
    with tempfile.TemporaryDirectory() as place:
        file = put(Path(place) / "10-a")
        assert why_untrusted(str(file), frozenset({0, NOBODY}), set()) is None
        os.chown(file, NOBODY, NOBODY)
        assert why_untrusted(str(file), frozenset({0, NOBODY}), set()) is None
        assert why_untrusted(str(file), frozenset({0, 1}), set()) is not None
        assert why_untrusted(str(file), trusted_users(), set()) is not None


def test_a_sentence_about_a_path_cannot_steer_a_terminal(tmp_path: Path) -> None:
    odd = tmp_path / "odd\x1b[2J\n"
    odd.mkdir()
    put(odd / "10-a", 0o777)
    refusal = why_untrusted(str(odd / "10-a"), trusted_users(), set())
    assert refusal is not None
    assert str(refusal).isprintable()


# ---- what cannot be started ----

def another_machines() -> bytes:
    """The head of a program for a machine that is none of ours (SuperH)."""
    head = bytearray(Path(sys.executable).resolve().read_bytes()[:64])
    head[18:20] = (42).to_bytes(2, sys.byteorder)
    return bytes(head)


@pytest.mark.parametrize(("content", "why"), [
    (b"echo hello\n", "has no #! line"),
    (b"", "is empty"),
    (b"#!/bin/sh\r\nexit 0\r\n", "carriage return"),
    (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
    (b"#!/nowhere/sh\n", "/nowhere/sh, which does not exist"),
    (b"#!/etc/passwd\n", "/etc/passwd, which may not be executed"),
    (b"#!\n", "names no interpreter"),
    (b"#!/usr/bin/env no-such-interpreter\n", "no-such-interpreter, which is in no directory of PATH"),
    (b"#!/usr/bin/env -S A=1 no-such-interpreter -x\n", "no-such-interpreter, which is in no directory of PATH"),
])
def test_a_hook_that_cannot_be_started_is_refused_with_the_reason(hooks: Path, content: bytes, why: str) -> None:
    """Before the first event asks for it."""
    put(hooks / "10-a").write_bytes(content)
    assert why in refusal(hooks)


def test_a_program_for_another_machine_is_refused(hooks: Path) -> None:
    put(hooks / "10-a").write_bytes(another_machines())
    assert "another kind of machine" in refusal(hooks)


def test_a_hook_on_a_noexec_file_system_is_refused(hooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hooks / "10-a")
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC))
    assert "noexec" in refusal(hooks)


@pytest.mark.parametrize("first_line", ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S A=1 sh -e"])
def test_what_the_kernel_starts_is_not_refused(hooks: Path, first_line: str) -> None:
    put(hooks / "10-a").write_text(f"{first_line}\nexit 0\n")
    shutil.copy("/bin/true", put(hooks / "20-b"))
    assert [hook.refused for hook in read(hooks).hooks] == [None, None]


def test_an_interpreter_is_looked_for_where_the_hook_will_look(hooks: Path, tmp_path: Path) -> None:
    """Its own PATH, if its table has one."""
    put(tmp_path / "my-own-sh")
    put(hooks / "10-a").write_text("#!/usr/bin/env my-own-sh\n")
    wanted = replace(described("a"), environment={"PATH": str(tmp_path)})
    assert read_catalogue(hooks, lambda name: wanted).hooks[0].refused is None
    assert "my-own-sh" in refusal(hooks)


def test_everything_that_cannot_work_is_reported_in_one_place(hooks: Path) -> None:
    """What hooks check, the doctor and the start's log go by: a disabled file and a leftover are no faults."""
    put(hooks / "10-a").write_bytes(b"")
    put(hooks / "web.sh")
    put(hooks / "20-off", 0o644)
    put(hooks / "30-b~")
    put(hooks / "40-good")
    assert [Path(file).name for file, _ in read(hooks).faults] == ["10-a", "web.sh"]
