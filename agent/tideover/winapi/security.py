"""Who we are, who owns a file and who may do what to it, and objects made for few only.

Users and groups are given as security identifiers in their text form (S-1-5-18): names are translated, those are not.
"""
from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import wintypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tideover.winapi.base import DWORD, HANDLE, advapi32, check, close_handle, declare, kernel32, last_error

SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
# NT SERVICE\\TrustedInstaller, who owns what Windows itself installed
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
_TOKEN_QUERY, _TOKEN_USER = 0x8, 1
_SE_FILE_OBJECT, _OWNER_AND_DACL = 1, 0x1 | 0x4
_SDDL_REVISION = 1
ERROR_ALREADY_EXISTS = 183


class SecurityAttributes(ctypes.Structure):
    """SECURITY_ATTRIBUTES: what an object is made with."""

    _fields_ = (("size", DWORD), ("descriptor", ctypes.c_void_p), ("inherit", wintypes.BOOL))


@dataclass(frozen=True, slots=True)
class FileSecurity:
    """A file's owner, and its access list as it lies in memory (ACL); None: it has none, so everybody may do all."""

    owner: str
    access: bytes | None


_free = declare(kernel32, "LocalFree", HANDLE, ctypes.c_void_p)
_own_process = declare(kernel32, "GetCurrentProcess", HANDLE)
_open_token = declare(advapi32, "OpenProcessToken", wintypes.BOOL, HANDLE, DWORD, ctypes.POINTER(HANDLE))
_token_information = declare(advapi32, "GetTokenInformation", wintypes.BOOL, HANDLE, ctypes.c_int, ctypes.c_void_p,
                             DWORD, ctypes.POINTER(DWORD))
_sid_text = declare(advapi32, "ConvertSidToStringSidW", wintypes.BOOL, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
_descriptor_of = declare(advapi32, "ConvertStringSecurityDescriptorToSecurityDescriptorW", wintypes.BOOL,
                         wintypes.LPCWSTR, DWORD, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(DWORD))
_file_security = declare(advapi32, "GetNamedSecurityInfoW", DWORD, wintypes.LPCWSTR, ctypes.c_int, DWORD,
                         ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p),
                         ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
_make_directory = declare(kernel32, "CreateDirectoryW", wintypes.BOOL, wintypes.LPCWSTR, ctypes.c_void_p)
_is_admin = declare(ctypes.WinDLL("shell32"), "IsUserAnAdmin", wintypes.BOOL)


@cache
def own_sid() -> str:
    """Return the user that this process runs as."""
    token = HANDLE()
    check(_open_token(_own_process(), _TOKEN_QUERY, ctypes.byref(token)))
    try:
        room, used = ctypes.create_string_buffer(256), DWORD()     # a SID has 68 bytes at most
        check(_token_information(token, _TOKEN_USER, room, len(room), ctypes.byref(used)))
        return _text_of(ctypes.cast(room, ctypes.POINTER(ctypes.c_void_p))[0])
    finally:
        close_handle(token.value or 0)


def trusted_sids(own: str) -> frozenset[str]:
    """Given our user, return those who may change what we run: they can do whatever they like anyway."""
    return frozenset({SYSTEM, ADMINISTRATORS, TRUSTED_INSTALLER, own})


def is_administrator() -> bool:
    """Whether this process has the rights of an administrator."""
    return bool(_is_admin())


def for_us_alone() -> str:
    """Return in the security descriptor language who may have what is the agent's own: the system, administrators and
    our user; no other user, whatever the directory above grants."""
    return "D:P" + "".join(f"(A;OICI;FA;;;{sid})" for sid in dict.fromkeys([SYSTEM, ADMINISTRATORS, own_sid()]))


@cache
def security_attributes(text: str) -> SecurityAttributes:
    """Given a security descriptor in its language, return what to make an object with. Kept for good."""
    descriptor = ctypes.c_void_p()
    check(_descriptor_of(text, _SDDL_REVISION, ctypes.byref(descriptor), None))
    return SecurityAttributes(ctypes.sizeof(SecurityAttributes), descriptor.value, False)


def read_file_security(path: str) -> FileSecurity:
    """Given a path, return who owns the file and who may do what to it. Raise OSError."""
    owner, access, descriptor = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    code = _file_security(path, _SE_FILE_OBJECT, _OWNER_AND_DACL, ctypes.byref(owner), None, ctypes.byref(access), None,
                          ctypes.byref(descriptor))
    if code:
        error = last_error(code)
        error.filename = path
        raise error
    try:
        size = ctypes.cast(access, ctypes.POINTER(ctypes.c_uint16))[1] if access.value else 0    # ACL.AclSize
        return FileSecurity(_text_of(owner.value), ctypes.string_at(access, size) if access.value else None)
    finally:
        _free(descriptor)


def make_private_directory(path: Path) -> None:
    """Given a path, make it a directory that only the system, administrators and our user can enter, and so the ones
    above it that are not there. One that is there is left as it is. Raise OSError."""
    if path.is_dir():
        return
    if path.parent != path:
        make_private_directory(path.parent)
    if not _make_directory(str(path), ctypes.byref(security_attributes(for_us_alone()))):
        error = last_error()
        if error.winerror != ERROR_ALREADY_EXISTS or not path.is_dir():
            error.filename = str(path)
            raise error


def _text_of(sid: int | None) -> str:
    text = ctypes.c_void_p()
    check(_sid_text(sid, ctypes.byref(text)))
    try:
        return ctypes.wstring_at(text.value or 0)
    finally:
        _free(text)
