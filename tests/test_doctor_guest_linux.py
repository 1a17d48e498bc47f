"""What a machine can show, on played machines: nothing but files under one root."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tideover.doctor.clock import GuaranteeSource, guarantees
from tideover.doctor.guest_linux import NetworkInterface, probe
from tideover.pause.hypervisor_signals import POOL
from tideover.pause.types import PauseWatchSettings


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def nic(root: Path, name: str, driver: str, master: str = "") -> None:
    folder = root / "sys/class/net" / name
    (folder / "device").mkdir(parents=True)
    (root / "sys/drivers" / driver).mkdir(parents=True, exist_ok=True)
    (folder / "device/driver").symlink_to(root / "sys/drivers" / driver)
    if master:
        (folder / "master").symlink_to(root / "sys/class/net" / master)


def test_an_azure_machine_with_accelerated_networking(tmp_path: Path) -> None:
    put(tmp_path, sys__class__dmi__id__sys_vendor="Microsoft Corporation\n",
        sys__class__dmi__id__product_name="Virtual Machine\n",
        sys__class__dmi__id__chassis_asset_tag="7783-7084-3265-9085-8269-3286-77\n",
        sys__devices__system__clocksource__clocksource0__current_clocksource="hyperv_clocksource_tsc_page\n",
        sys__devices__system__clocksource__clocksource0__available_clocksource="hyperv_clocksource_tsc_page acpi_pm\n",
        sys__class__ptp__ptp0__clock_name="hyperv\n", sys__class__net__lo__ifindex="1\n",
        proc__stat="cpu 1 2 3 4 5 6 7 8\nctxt 99\n")
    nic(tmp_path, "eth0", "hv_netvsc")
    nic(tmp_path, "enP1s1", "mlx5_core", master="eth0")
    pool = tmp_path / POOL
    pool.parent.mkdir(parents=True)
    pool.write_bytes(b"PhysicalHostName".ljust(512, b"\0") + b"NODE-3".ljust(2048, b"\0"))
    found = probe(tmp_path)
    assert (found.hypervisor, found.clocksource) == ("hyperv", "hyperv_clocksource_tsc_page")
    assert found.hardware_clocks == (("ptp0", "hyperv"),)
    assert found.interfaces == (NetworkInterface("enP1s1", "mlx5_core", "eth0"), NetworkInterface("eth0", "hv_netvsc"))
    assert (found.host_name, found.vmclock, found.counts_switches) == ("NODE-3", "", True)


def test_a_kvm_machine_with_everything_its_hypervisor_can_give(tmp_path: Path) -> None:
    put(tmp_path, sys__class__dmi__id__sys_vendor="QEMU\n", sys__class__ptp__ptp0__clock_name="KVM virtual PTP\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vmclock0").write_bytes(
        struct.pack("<IIHBBIQQ2xB", 0x4B4C4356, 4096, 1, 1, 0, 2, 7, 1 << 9, 2).ljust(4096, b"\0"))
    found = probe(tmp_path)
    assert found.hypervisor == "kvm"
    assert found.vmclock == "marker 7, notifies, clock synchronised"
    assert found.host_name is None


@pytest.mark.parametrize(("files", "hypervisor"), [
    ({}, ""),
    ({"proc__cpuinfo": "processor: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n"}, "unknown"),
    ({"proc__cpuinfo": "processor: 0\nflags\t\t: fpu vme lahf_lm\n"}, ""),
    ({"sys__hypervisor__type": "xen\n"}, "xen"),
    ({"sys__class__dmi__id__sys_vendor": "VMware, Inc.\n"}, "vmware"),
    ({"sys__class__dmi__id__sys_vendor": "Microsoft Corporation\n",
      "sys__class__dmi__id__product_name": "Surface Laptop\n"}, ""),
    ({"sys__bus__vmbus__drivers__x": ""}, "hyperv"),
    ({"sys__devices__system__clocksource__clocksource0__available_clocksource": "kvm-clock tsc acpi_pm\n"}, "kvm"),
], ids=["nothing", "flag only", "hardware", "xen", "vmware", "a laptop", "vmbus", "kvm-clock"])
def test_the_hypervisor_is_recognised_by_any_of_its_signs(tmp_path: Path, files: dict[str, str], hypervisor: str) -> None:
    put(tmp_path, **files)
    found = probe(tmp_path)
    assert found.hypervisor == hypervisor


def test_this_machine_can_be_probed() -> None:
    found = probe()
    assert found.clocksource in found.clocksources
    assert found.counts_switches and found.hears_clock_set


def test_what_can_be_promised_with_a_time_server_near_by() -> None:
    running, stopped = guarantees(PauseWatchSettings(), [GuaranteeSource("10.0.0.1", 1.0, 0.002), GuaranteeSource("Date", 1, 1)])
    assert running.sentence == ("pause with running clocks: pauses of 750 ms or more are detected within 250 ms, to ± 130 ms, "
                                "by the heartbeat")
    assert stopped.sentence == ("pause with stopped clocks: pauses of 500 ms or more are detected within 2.25 s, "
                                "to ± 4.05 ms, by 10.0.0.1")


def test_what_can_be_promised_by_the_date_header_alone_and_without_any_source() -> None:
    _, stopped = guarantees(PauseWatchSettings(), [GuaranteeSource("the metadata service's Date", 1.0, 1.0)])
    assert stopped.shortest_s == pytest.approx(4, abs=0.1) and stopped.bound_s == pytest.approx(2, abs=0.1)
    _, never = guarantees(PauseWatchSettings(), [])
    assert never.sentence == ("pause with stopped clocks: not detectable on this machine, because no time server, hardware clock or "
                              "metadata service is queried")
