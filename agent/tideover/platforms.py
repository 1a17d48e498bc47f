"""The table of platforms: names, detection by DMI, whether events can be received, `[source] kind`. Pure.

This is the one table of platforms: the kinds that `[source] kind` takes, detection, doctor, status, simulator and drill
read it. What a platform's service says and does stands in its module, which is named here and imported only where that
platform is the one in use.
"""
from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

AUTO = "auto"
DmiFields = Mapping[str, str]
"""Name under /sys/class/dmi/id: its text. A field that is empty, hidden or not there is missing."""


class Support(enum.Enum):
    """What this version can do on a platform."""

    SERVED = "served"            # its module receives events
    SILENT = "silent"            # it announces nothing that the guest could ask for


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform. `kind`: as `[source] kind` and records write it, in cloud-init's words where it has one."""

    kind: str
    name: str                            # for people
    support: Support
    tables: tuple[DmiFields, ...] = ()   # any one matches; a text is a regular expression of a whole field
    why: str = ""                        # what tells it apart; or why it announces nothing
    module: str = ""                     # where it is served
    service: str = "the metadata service"
    takes_acknowledgement: bool = True
    tells_pause: bool = False            # its events say how long the machine is paused
    prepares_just_in_time: bool = False  # unless configured: its NotBefore is the earliest time of a long window
    shortest_poll_s: float = 0.0         # where a poll costs more than a request
    simulator: str = ""                  # the stand-in that plays it
    time_server: str = ""                # that the platform offers inside itself

    @property
    def source_kind(self) -> str:
        """The kind of source that is used here, one of SOURCE_KINDS: where nothing can be asked it is none."""
        return self.kind if self.kind in SOURCE_KINDS else NONE.kind

    @property
    def is_served(self) -> bool:
        return self.support is Support.SERVED

    @property
    def silence(self) -> str:
        """Why no events can be received, completing "no events can be received: …"; "" where they can."""
        return self.why if self.support is Support.SILENT else ""

    def matches(self, found: DmiFields) -> bool:
        return any(all(re.fullmatch(text, found.get(name, "")) for name, text in table.items())
                   for table in self.tables)


NO_NOTICE = "it tells a guest nothing of its maintenance in advance"
ONLY_OUTSIDE = "it tells of maintenance by its API and by mail, not inside the guest"
SPOT_ONLY = "it tells a guest only that a spot instance ends, which this version does not read"

AZURE = Platform(
    "azure", "Azure", Support.SERVED, ({"chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"},),
    "the DMI chassis asset tag is that of every Azure VM",       # cloud-init's Azure data source goes by it too
    module="tideover.sources.azure", tells_pause=True, simulator="tideover.simulator.imds")
HYPERV = Platform(
    "hyperv", "Hyper-V", Support.SILENT,
    ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},),
    "Hyper-V on premises tells its guests nothing in advance")
NONE = Platform("none", "no known platform", Support.SILENT,
                why="no platform that announces its maintenance is detected or configured here")

# In the order in which they are tried. Fields: vendors' pages, cloud-init's ds-identify, systemd's virt.c; captured.
PLATFORMS = (
    AZURE,
    # Google's Chromebooks have sys_vendor Google too; the serial number is for root only.
    Platform("gcp", "Google Compute Engine", Support.SERVED,
             ({"product_name": "Google Compute Engine"}, {"product_serial": "GoogleCloud-.+"}),
             "the DMI product is Google Compute Engine",
             module="tideover.sources.gcp", service="the metadata server", takes_acknowledgement=False,
             simulator="tideover.simulator.gce_metadata", time_server="metadata.google.internal"),
    Platform("aws", "AWS EC2", Support.SERVED,
             ({"sys_vendor": "Amazon EC2"}, {"bios_vendor": "Amazon EC2"},
              {"sys_vendor": "Xen", "product_version": r".*\.amazon"},
              {"sys_vendor": "Xen", "bios_version": r".*\.amazon"}),
             "the DMI tables name Amazon EC2", module="tideover.sources.aws", takes_acknowledgement=False,
             prepares_just_in_time=True, simulator="tideover.simulator.ec2_metadata", time_server="169.254.169.123"),
    Platform("oci", "Oracle Cloud", Support.SILENT, ({"chassis_asset_tag": r"OracleCloud\.com"},), ONLY_OUTSIDE),
    Platform("alibaba", "Alibaba Cloud", Support.SILENT,
             ({"product_name": "Alibaba Cloud ECS"}, {"sys_vendor": "Alibaba Cloud"}), SPOT_ONLY),
    Platform("vsphere", "VMware vSphere", Support.SERVED, ({"sys_vendor": "VMware.*"},),
             "the DMI vendor is VMware", module="tideover.sources.vsphere", service="VMware Tools",
             shortest_poll_s=2.0, simulator="tideover.simulator.vmware_tools"),
    HYPERV,
    Platform("tencent", "Tencent Cloud", Support.SILENT, ({"sys_vendor": "Tencent Cloud"},), SPOT_ONLY),
    Platform("huawei", "Huawei Cloud", Support.SILENT, ({"sys_vendor": "Huawei Cloud"},), NO_NOTICE),
    Platform("openstack", "OpenStack", Support.SILENT,
             ({"sys_vendor": "OpenStack Foundation"}, {"product_name": "OpenStack (Nova|Compute)"}), NO_NOTICE),
    Platform("nutanix", "Nutanix AHV", Support.SILENT, ({"sys_vendor": "Nutanix"},), NO_NOTICE),
    Platform("hetzner", "Hetzner Cloud", Support.SILENT, ({"sys_vendor": "Hetzner"},), NO_NOTICE),
    Platform("scaleway", "Scaleway", Support.SILENT, ({"sys_vendor": "Scaleway"},), NO_NOTICE),
    Platform("digitalocean", "DigitalOcean", Support.SILENT, ({"sys_vendor": "DigitalOcean"},), NO_NOTICE),
    Platform("vultr", "Vultr", Support.SILENT, ({"sys_vendor": "Vultr"},), NO_NOTICE),
    Platform("akamai", "Akamai Linode", Support.SILENT, ({"sys_vendor": "(Akamai|Linode)"},), NO_NOTICE),
    Platform("xen", "Xen", Support.SILENT, ({"sys_vendor": "Xen", "product_name": "HVM domU"},), NO_NOTICE),
    Platform("qemu", "QEMU/KVM", Support.SILENT, ({"sys_vendor": "QEMU"},), NO_NOTICE),
    NONE,
)
SOURCE_KINDS = (AUTO, *(one.kind for one in PLATFORMS if one.is_served or one in (HYPERV, NONE)))
SIMULATED_KINDS = tuple(one.kind for one in PLATFORMS if one.simulator)


def detect(found: DmiFields) -> Platform:
    """Given the DMI fields of a machine, return its platform; NONE where they name none. Asks no network."""
    return next((one for one in PLATFORMS if one.matches(found)), NONE)


def platform_of(kind: str, found: DmiFields) -> Platform:
    """Given what `[source] kind` says and the machine's DMI fields, return the platform that is used here."""
    return detect(found) if kind == AUTO else platform_named(kind)


def platform_named(kind: str) -> Platform:
    """Given the kind of a platform of the table, return it."""
    return next(one for one in PLATFORMS if one.kind == kind)
