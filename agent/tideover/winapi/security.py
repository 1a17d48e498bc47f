"""Users, owners and access lists on Windows; files, directories and pipes made for few only.

Users and groups are given as security identifiers in their text form (S-1-5-18): names are translated, those are not.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import msvcrt
import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pywintypes
import win32api
import win32con
import win32file
import win32security

from tideover.winapi.base import number_of, os_errors

SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
# NT SERVICE\\TrustedInstaller, who owns what Windows itself installed
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
_OWNER_AND_DACL = win32security.OWNER_SECURITY_INFORMATION | win32security.DACL_SECURITY_INFORMATION
_READ_AND_WRITE = 0x12019b       # FILE_GENERIC_READ and FILE_GENERIC_WRITE without FILE_CREATE_PIPE_INSTANCE (4)
_DACL_AT = 16            # SECURITY_DESCRIPTOR_RELATIVE.Dacl: where the access list lies in it; 0: it has none


@dataclass(frozen=True, slots=True)
class FileSecurity:
    """A file's owner, and its access list as bytes (ACL); None: it has none, so everybody may do all."""

    owner: str
    access: bytes | None


@cache
def own_sid() -> str:
    """Return the user that this process runs as."""
    with os_errors():
        token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
        user, _ = win32security.GetTokenInformation(token, win32security.TokenUser)
        return win32security.ConvertSidToStringSid(user)


def trusted_sids(own: str) -> frozenset[str]:
    """Given our user, return those who may change what we run: they can do whatever they like anyway."""
    return frozenset({SYSTEM, ADMINISTRATORS, TRUSTED_INSTALLER, own})


def is_administrator() -> bool:
    """Whether this process has the rights of an administrator."""
    administrators = win32security.ConvertStringSidToSid(ADMINISTRATORS)
    is_member: Any = win32security.CheckTokenMembership
    return bool(is_member(None, administrators))       # None: of this thread


def for_us_alone() -> str:
    """Return in the security descriptor language who may have what is the agent's own: the system, administrators and
    our user; no other user, whatever the directory above grants."""
    return "D:P" + "".join(f"(A;OICI;FA;;;{sid})" for sid in dict.fromkeys([SYSTEM, ADMINISTRATORS, own_sid()]))


def for_every_user() -> str:
    """Return in the security descriptor language who may use a pipe of ours: every user may read and write, and none
    but those whom we trust may serve under its name (FILE_CREATE_PIPE_INSTANCE). It is our user's: clients look."""
    return f"O:{own_sid()}{for_us_alone()}(A;;{_READ_AND_WRITE:#x};;;WD)"


def find_account(name: str) -> str | None:
    """Given a user's name, with or without its domain, return the security identifier; None if there is no such
    user."""
    try:
        found, _, _ = win32security.LookupAccountName(None, name)
    except pywintypes.error:
        return None
    return win32security.ConvertSidToStringSid(found)


def user_of_client(pipe: int) -> str:
    """Given our end of a pipe from which something was read, return who is at the other. Raise OSError."""
    with os_errors():
        win32security.ImpersonateNamedPipeClient(pipe)
        try:
            token = win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
        finally:
            win32security.RevertToSelf()
        user, _ = win32security.GetTokenInformation(token, win32security.TokenUser)
        return win32security.ConvertSidToStringSid(user)


def read_owner(handle: int) -> str:
    """Given a handle of a pipe, return who made it. Raise OSError."""
    with os_errors():
        found: Any = win32security.GetSecurityInfo(handle, win32security.SE_KERNEL_OBJECT,
                                                   win32security.OWNER_SECURITY_INFORMATION)
        return win32security.ConvertSidToStringSid(found.GetSecurityDescriptorOwner())


@cache
def security_attributes(text: str) -> Any:
    """Given a security descriptor in its language, return what to make an object with."""
    attributes = pywintypes.SECURITY_ATTRIBUTES()
    with os_errors():
        attributes.SECURITY_DESCRIPTOR = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
            text, win32security.SDDL_REVISION_1)
    return attributes


def read_file_security(path: str) -> FileSecurity:
    """Given a path, return who owns the file and who may do what to it. Raise OSError."""
    with os_errors(path):
        found: Any = win32security.GetNamedSecurityInfo(path, win32security.SE_FILE_OBJECT, _OWNER_AND_DACL)
        owner = win32security.ConvertSidToStringSid(found.GetSecurityDescriptorOwner())
    whole = bytes(found)
    at = struct.unpack_from("<I", whole, _DACL_AT)[0]
    size = struct.unpack_from("<H", whole, at + 2)[0]       # ACL.AclSize
    return FileSecurity(owner, whole[at:at + size] if at else None)


def make_private_file(path: Path) -> int:
    """Given a path where nothing lies, make a file that only the system, administrators and our user can read; return
    its descriptor, for writing. Raise OSError."""
    with os_errors(str(path)):
        made = win32file.CreateFileW(str(path), win32con.GENERIC_WRITE, 0, security_attributes(for_us_alone()),
                                     win32con.CREATE_NEW, win32con.FILE_ATTRIBUTE_NORMAL, None)
    return msvcrt.open_osfhandle(number_of(made), os.O_WRONLY | os.O_BINARY)


def make_private_directory(path: Path) -> None:
    """Given a path, make it a directory that only the system, administrators and our user can enter, and so the ones
    above it that are not there. One that is there is left as it is. Raise OSError."""
    if path.is_dir():
        return
    if path.parent != path:
        make_private_directory(path.parent)
    try:
        with os_errors(str(path)):
            win32file.CreateDirectoryW(str(path), security_attributes(for_us_alone()))
    except FileExistsError:
        if not path.is_dir():
            raise
