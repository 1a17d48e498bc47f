"""Which files root may run on Linux: owners, mode bits and links on the way, interpreters, accounts.

Never changes anything.

The walk goes from the root downwards and follows links as the kernel would. Each step that is found safe can only be
changed by root or the agent's own user from then on, so by induction the file at the end is the one that the kernel
will run under the same path: no other user can replace a component between the check and the start.
"""
from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from tideover.errors import Refusal
from tideover.hooks.environment import UnusableAccountError, UserAccount
from tideover.text_safety import drop_controls

SUFFIXES = ("",)             # of hooks' files
LINKS_AT_MOST = 40          # as the kernel's own limit (path_resolution(7))
SHOWN_PATH = 4096           # PATH_MAX: no real path is cut


def trusted_users() -> frozenset[int]:
    """Return the user ids that may write a hook: root and the agent's own."""
    return frozenset({0, os.geteuid()})


def has_run_bit(mode: int) -> bool:
    """Given a file's mode, return whether any user may run it; a hook that none may run is disabled."""
    return bool(mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))


def why_untrusted(path: str, trusted: frozenset[int], safe: set[str]) -> Refusal | None:
    """Given an absolute path, who may write and the directories already found safe, return why not to run the file.

    None: it may be run; `safe` has gained the directories on the way. Raise OSError if the way cannot be walked.
    """
    found = _look(path, trusted, safe)
    if isinstance(found, Refusal):
        return found
    return None if stat.S_ISREG(found) else Refusal(f"{_shown(path)} is not a regular file", "put a program there")


def untrusted_component(path: str, *, is_secret: bool = False) -> Refusal | None:
    """Given an absolute path of any kind of file, return who else could change what lies there, or read it where it is
    secret; None: no other account.

    Others are all but root and the agent's own user. Raise OSError if the way cannot be walked.
    """
    found = _look(path, trusted_users(), set())
    if isinstance(found, Refusal):
        return found
    return _judge_secret(path, found) if is_secret else None


def _judge_secret(path: str, mode: int) -> Refusal | None:
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    whom, bits = ("everybody", "go-r") if mode & stat.S_IROTH else ("its group", "g-r")
    return Refusal(f"{_shown(path)} is secret and can be read by {whom}", f"chmod {bits} {_shown(path)}")


def _look(path: str, trusted: frozenset[int], safe: set[str]) -> Refusal | int:
    """Return the mode of what lies at the path's end, or why it is not safe."""
    mode = 0
    for step, status in _walk(path, safe):
        reason = _judge(step, status, trusted)
        if reason is not None:
            return reason
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            safe.add(step)
    return mode


def _walk(path: str, safe: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Given a path, yield each step that the kernel takes, links included, but for the directories known as safe."""
    here, links = "", 0
    ahead = _steps(path)
    while ahead:
        name = ahead.pop()
        if name == "..":        # the links on the way here are resolved: the directory above is the text's as well
            here = here.rpartition("/")[0]
            continue
        step = "/" if name == "/" else f"{here}/{name}"
        if step not in safe:
            status = os.lstat(step)
            yield step, status
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > LINKS_AT_MOST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                ahead.extend(_steps(str(Path(step).readlink())))
                continue
        here = step.rstrip("/")


def _steps(path: str) -> list[str]:
    """Given a path, return its steps, the first one last. An absolute path begins with the root itself ('/')."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    return [*reversed(names), "/"] if path.startswith("/") else names[::-1]


def _judge(step: str, status: os.stat_result, trusted: frozenset[int]) -> Refusal | None:
    if status.st_uid not in trusted:
        follow = "-h " if stat.S_ISLNK(status.st_mode) else ""
        return Refusal(f"{_shown(step)} belongs to user id {status.st_uid}, who could change it",
                       f"chown {follow}root {_shown(step)}")
    if stat.S_ISLNK(status.st_mode):
        return None         # a link has no mode of its own (symlink(7)); only the directory it lies in guards it
    mode = status.st_mode
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and status.st_uid == 0:
        return None         # sticky: what lies in it can be moved by its owner and root only (unlink(2))
    whom, bit = ("everybody", "go-w") if mode & stat.S_IWOTH else ("its group", "g-w")
    return Refusal(f"{_shown(step)} can be written by {whom}", f"chmod {bit} {_shown(step)}")


def _shown(path: str) -> str:
    return shlex.quote(drop_controls(path, SHOWN_PATH))


# ---- can the kernel start it? ----

HEAD_BYTES = 4096               # the kernel looks at the first 256 (linux/binfmts.h); the rest makes the words better
BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")
# By e_machine (elf(5)): what the processor runs besides its own.
RUNS_ALSO = {62: {3}, 183: {40}, 21: {20}}      # x86-64: i386; aarch64: arm; ppc64: ppc
ENV_PROGRAMS = frozenset({"/usr/bin/env", "/bin/env"})


def find_obstacle(path: str, search_path: str) -> Refusal | None:
    """Given the absolute path of a hook's file and the PATH it will have, return why it cannot be started, with what to
    do; None: it can, or we may not look. Raise OSError if it is not there."""
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return Refusal(f"{_shown(path)} lies on a file system that is mounted noexec",
                       "move it, or mount that without noexec")
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except PermissionError:
        return None
    if not head:
        return Refusal(f"{_shown(path)} is empty", "write the hook, or remove the file")
    if head.startswith(b"\x7fELF"):
        return None if _is_our_machines(head) or _is_known_format(head) else Refusal(
            f"{_shown(path)} is a program for another kind of machine", "install the one for this machine")
    if head.startswith(b"\xef\xbb\xbf"):
        return Refusal(f"{_shown(path)} begins with a byte order mark, which hides the #! line",
                       "save it as UTF-8 without one")
    if not head.startswith(b"#!"):
        return None if _is_known_format(head) else Refusal(
            f"{_shown(path)} is not a program and has no #! line", "begin a script with a line such as #!/bin/sh")
    return _look_at_first_line(path, head[2:].split(b"\n")[0], search_path)


def _look_at_first_line(path: str, line: bytes, search_path: str) -> Refusal | None:
    if line.endswith(b"\r"):
        return Refusal(f"the first line of {_shown(path)} ends with a carriage return, as Windows writes it",
                       "sed -i 's/\\r$//'")
    interpreter, *arguments = os.fsdecode(line).split() or [""]
    if not interpreter:
        return Refusal(f"the first line of {_shown(path)} names no interpreter", "write one, such as #!/bin/sh")
    missing = _why_no_interpreter(interpreter)
    if missing is None and interpreter in ENV_PROGRAMS:
        missing = _why_not_found(arguments, search_path)
    if missing is None:
        return None
    return Refusal(f"the first line of {_shown(path)} names {missing}", "install it or correct the line")


def _why_no_interpreter(program: str) -> str | None:
    if not Path(program).is_file():
        return f"{_shown(program)}, which does not exist"
    if not os.access(program, os.X_OK) or os.statvfs(program).f_flag & os.ST_NOEXEC:
        return f"{_shown(program)}, which may not be executed"
    return None


def _why_not_found(arguments: list[str], search_path: str) -> str | None:
    """What env(1) will look for: the first word that is no option and sets no variable."""
    name = next((word for word in arguments if not word.startswith("-") and "=" not in word), "")
    if not name or shutil.which(name, path=search_path):
        return None
    return f"{_shown(name)}, which is in no directory of PATH ({_shown(search_path)})"


def _is_our_machines(head: bytes) -> bool:
    with Path("/proc/self/exe").open("rb") as file:
        own = file.read(20)
    ours, its = _machine(own), _machine(head)
    return ours == its or its is None or ours is None or its in RUNS_ALSO.get(ours, set())


def _machine(head: bytes) -> int | None:
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")


def _is_known_format(head: bytes) -> bool:
    """Whether an interpreter is registered for it in the kernel (binfmt_misc): emulators, Java archives …"""
    try:
        entries = [entry.read_text(errors="replace") for entry in BINFMT_MISC.iterdir()
                   if entry.name not in ("register", "status")]
    except OSError:
        return False
    return any(_matches(head, dict(line.partition(" ")[::2] for line in entry.splitlines())) for entry in entries)


def _matches(head: bytes, entry: dict[str, str]) -> bool:
    if "enabled" not in entry or "magic" not in entry:
        return False
    try:
        offset, magic = int(entry.get("offset", "0")), bytes.fromhex(entry["magic"])
        mask = bytes.fromhex(entry.get("mask", "ff" * len(magic)))
    except ValueError:
        return False
    there = head[offset:offset + len(magic)]
    return len(there) == len(magic) and all(a & m == b & m for a, b, m in zip(there, magic, mask, strict=False))


# --- Accounts: which user and groups a hook runs as

def own_account() -> UserAccount:
    """Return the agent's own account; its home is the agent's own HOME, as a hook may see it (contract)."""
    home = os.environ.get("HOME")
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:        # containers run under user ids without an entry
        return UserAccount(str(os.geteuid()), home or "/")
    return UserAccount(entry.pw_name, home or entry.pw_dir)


def find_account(user: str | None) -> UserAccount:
    """Given a hook's user (None: the agent's own), return the account. Raise UnusableAccountError if it is none."""
    if user is None:
        return own_account()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnusableAccountError(Refusal(f"user {user} does not exist here",
                                           "create it, or correct `user` of the hook")) from None
    if entry.pw_uid == os.geteuid():
        return UserAccount(user, entry.pw_dir)
    if os.geteuid() != 0:
        raise UnusableAccountError(Refusal(f"only an agent run by root can run it as user {user}",
                                           "run the agent as root, or remove `user`"))
    groups = tuple(os.getgrouplist(user, entry.pw_gid))
    return UserAccount(user, entry.pw_dir, (entry.pw_uid, entry.pw_gid, groups))


# --- Environment: what of the agent's own a hook may see

SYSTEM_PATHS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
LANG_WITHOUT_ONE = "C.UTF-8"


def standing_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Given the agent's own environment, return the two of its variables that a hook may see."""
    paths = [path for path in own.get("PATH", "").split(":") if path]
    missing = [path for path in SYSTEM_PATHS if path not in paths and (not paths or path.endswith("sbin"))]
    return {"PATH": ":".join(paths + missing), "LANG": own.get("LANG") or LANG_WITHOUT_ONE}
