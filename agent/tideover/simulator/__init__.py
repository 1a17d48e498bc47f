"""Stand-ins for the platform: a metadata service and a time server on loopback, for drills, `simulate` and tests.

They know the formats by themselves and share nothing with the agent's own: what both read from one module, both would
get wrong together. Correct unless a fault is switched on; nothing here ever leaves the loopback address it was given.
"""
from __future__ import annotations

from tideover.simulator.http import InjectedFault, Request
from tideover.simulator.imds import MetadataService
from tideover.simulator.ntp_server import TimeServer
from tideover.simulator.service import Acknowledgement, SimulatedService, SimulatorModule, load_simulator

__all__ = ["Acknowledgement", "InjectedFault", "MetadataService", "Request", "SimulatedService", "SimulatorModule",
           "TimeServer", "load_simulator"]
