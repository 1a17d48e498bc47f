"""What Windows says, read on any system: access lists, the firmware's table, the registry of its time service."""
from __future__ import annotations

import struct

import pytest

from tideover.clock.daemons.w32time import W32Time
from tideover.clock.host import HostAccess
from tideover.clock.types import CommandResult, Origin, TimeSource
from tideover.hooks.windows_acl import AclTarget, why_not_safe
from tideover.pause.types import HostChanged
from tideover.pause.watch import GuestParametersReader
from tideover.system.dmi import fields_in

SYSTEM, ADMINISTRATORS, USERS, EVERYBODY = "S-1-5-18", "S-1-5-32-544", "S-1-5-32-545", "S-1-1-0"
TRUSTED = frozenset({SYSTEM, ADMINISTRATORS})
FULL, READ, ADD_FOLDER, MODIFY = 0x1F01FF, 0x1200A9, 0x4, 0x1301BF
BELOW_ONLY = 0xB            # object and container inherit, inherit only


def sid(text: str) -> bytes:
    _, revision, authority, *parts = text.split("-")
    return (bytes([int(revision), len(parts)]) + int(authority).to_bytes(6, "big")
            + b"".join(struct.pack("<I", int(part)) for part in parts))


def access(*entries: tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int]) -> bytes:
    """Entries: who, rights, flags, kind (0 allows, 1 denies)."""
    packed = b""
    for who, rights, *rest in entries:
        flags, kind = (*rest, 0, 0)[:2]
        body = struct.pack("<I", rights) + sid(who)
        packed += struct.pack("<BBH", kind, flags, 4 + len(body)) + body
    return struct.pack("<BBHHH", 2, 0, 8 + len(packed), len(entries), 0) + packed


OURS = ((SYSTEM, FULL), (ADMINISTRATORS, FULL), (USERS, READ))
ROOT_OF_A_DRIVE = access(*OURS, ("S-1-5-11", ADD_FOLDER), ("S-1-5-11", MODIFY, BELOW_ONLY), ("S-1-3-0", FULL, BELOW_ONLY))
"""As Windows makes C:\\: everybody who has logged on may make directories there."""


def refusal(place: AclTarget, entries: bytes | None, owner: str = ADMINISTRATORS) -> str | None:
    found = why_not_safe("X", place, owner, entries, TRUSTED)
    return None if found is None else str(found)


@pytest.mark.parametrize("place", list(AclTarget))
def test_what_only_administrators_can_change_is_run(place: AclTarget) -> None:
    assert refusal(place, access(*OURS)) is None


def test_the_usual_root_of_a_drive_may_stand_above_hooks_but_not_hold_them() -> None:
    """What others add beside our directories does no harm; beside a hook it could be its library."""
    assert refusal(AclTarget.ABOVE, ROOT_OF_A_DRIVE) is None
    assert "S-1-5-11" in str(refusal(AclTarget.HOME, ROOT_OF_A_DRIVE))


@pytest.mark.parametrize("rights", [0x2, 0x4, 0x10000, 0x40000, 0x80000, 0x40000000, 0x10000000])
def test_a_file_that_others_can_write_delete_or_take_over_is_refused(rights: int) -> None:
    why = refusal(AclTarget.FILE, access(*OURS, (USERS, rights)))
    assert why is not None and "the group Users" in why and "icacls" in why


@pytest.mark.parametrize("rights", [0x40, 0x10000, 0x40000, 0x80000, 0x40000000, 0x10000000])
def test_a_directory_above_from_which_others_can_take_things_away_is_refused(rights: int) -> None:
    assert "everybody" in str(refusal(AclTarget.ABOVE, access(*OURS, (EVERYBODY, rights))))


def test_what_another_user_owns_or_no_list_guards_is_refused() -> None:
    """An owner can always give himself the rights; no list at all means all rights for all."""
    stranger = "S-1-5-21-1-2-3-1001"
    assert stranger in str(refusal(AclTarget.FILE, access(*OURS), stranger))
    assert "no access list" in str(refusal(AclTarget.FILE, None))


def test_a_denied_right_makes_nothing_safe_and_an_owners_right_nothing_unsafe() -> None:
    assert refusal(AclTarget.FILE, access((USERS, FULL, 0, 1), *OURS, (USERS, 0x2))) is not None
    assert refusal(AclTarget.FILE, access(*OURS, ("S-1-3-4", FULL))) is None


def test_an_entry_of_an_unknown_shape_counts_as_everybodys() -> None:
    assert refusal(AclTarget.FILE, access(*OURS, (SYSTEM, FULL, 0, 5))) is not None


# --- the firmware's table -------------------------------------------------------------------------------------------

def table(tag: bytes, maker: bytes = b"Microsoft Corporation", product: bytes = b"Virtual Machine") -> bytes:
    bios = bytes([0, 4, 0, 0]) + b"\0\0"
    system = bytes([1, 8, 1, 0, 1, 2, 0, 0]) + maker + b"\0" + product + b"\0\0"
    chassis = bytes([3, 9, 2, 0, 1, 3, 0, 0, 2]) + maker + b"\0" + tag + b"\0\0"
    return bios + system + chassis + bytes([127, 4, 3, 0, 0, 0])


def test_the_firmwares_table_tells_an_azure_vm() -> None:
    found = fields_in(table(b"7783-7084-3265-9085-8269-3286-77"))
    assert found == {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine",
                     "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"}


def test_a_table_that_is_cut_off_or_nonsense_says_as_much_as_it_can() -> None:
    whole = table(b"x")
    for end in range(len(whole)):
        assert set(fields_in(whole[:end]).values()) <= {"Microsoft Corporation", "Virtual Machine", "x"}
    assert fields_in(b"\1\0" * 50) == {}
    assert fields_in(bytes([1, 8, 0, 0, 9, 9, 0, 0]) + b"a\0\0") == {}


# --- the time service -----------------------------------------------------------------------------------------------

SERVICE = r"SYSTEM\CurrentControlSet\Services\W32Time"
POLICY = r"SOFTWARE\Policies\Microsoft\W32Time"


def time_service(values: dict[tuple[str, str], object], ran: list[object] | None = None) -> W32Time:
    def run(words: object) -> CommandResult:
        if ran is not None:
            ran.append(words)
        return CommandResult()
    return W32Time(HostAccess(registry=lambda key, name: values.get((key, name)), run=run))      # type: ignore[arg-type]


USUAL: dict[tuple[str, str], object] = {
    (SERVICE, "Start"): 3, (SERVICE + r"\Parameters", "Type"): "NTP",
    (SERVICE + r"\Parameters", "NtpServer"): "time.windows.com,0x9 10.0.0.1,0x8 10.0.0.1",
    (SERVICE + r"\TimeProviders\NtpClient", "Enabled"): 1}


def test_the_time_services_servers_are_read_without_their_flags_and_once() -> None:
    assert time_service(USUAL).servers() == (
        TimeSource("time.windows.com", Origin.DAEMON), TimeSource("10.0.0.1", Origin.DAEMON))


@pytest.mark.parametrize("change", [
    {(SERVICE, "Start"): 4}, {(SERVICE, "Start"): None}, {(SERVICE + r"\Parameters", "Type"): "NT5DS"},
    {(SERVICE + r"\Parameters", "Type"): "NoSync"}, {(SERVICE + r"\TimeProviders\NtpClient", "Enabled"): 0},
    {(SERVICE + r"\Parameters", "NtpServer"): None}, {(SERVICE + r"\Parameters", "NtpServer"): b"\0"},
    {(POLICY + r"\Parameters", "Type"): "NT5DS"}])
def test_a_time_service_without_a_server_names_none(change: dict[tuple[str, str], object]) -> None:
    """Switched off, not there, in a domain, without its client; a policy goes before the settings."""
    assert [one.server for one in time_service(USUAL | change).servers() if "time" in one.server] == []


def test_the_time_service_is_made_to_measure_again_by_its_own_tool() -> None:
    ran: list[object] = []
    assert time_service(USUAL, ran).measure_again(lambda offset: True).trouble == ""
    assert ran == [["w32tm", "/resync", "/rediscover", "/nowait"]]
    assert "domain" in time_service(USUAL | {(SERVICE + r"\Parameters", "Type"): "NT5DS"}).report().note


def test_a_time_service_that_is_stopped_now_still_names_its_configured_servers() -> None:
    """Windows starts and stops it as it likes where there is no domain."""
    for runs in (True, False):
        service = W32Time(HostAccess(registry=lambda key, name: USUAL.get((key, name)),       # type: ignore[arg-type,return-value]
                                     is_service_running={"W32Time": runs}.__getitem__))
        assert service.is_running() is runs and service.is_enabled() and service.servers()


# --- the physical host ----------------------------------------------------------------------------------------------

def test_a_new_physical_host_in_the_registry_is_reported_once() -> None:
    names = {"PhysicalHostName": "host-1", "HostName": "Host one"}
    reader = GuestParametersReader(lambda key, name: names.get(name, ""))
    assert reader.read() == ()
    names["PhysicalHostName"] = "host-2"
    assert reader.read() == (HostChanged("host-1", "host-2"),)
    assert reader.read() == ()


def test_a_registry_without_the_hosts_name_says_nothing() -> None:
    reader = GuestParametersReader(lambda key, name: "")
    assert reader.read() == reader.read() == ()
