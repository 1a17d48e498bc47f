"""The lab: a real guest that is really stopped, with its real clocks, measured against the hypervisor's own event times.

One ordinary machine is enough: QEMU without hardware help, a network of its own that no other process can see, the metadata
service at its real address and a real time server beside it. `README.md` says how to run it.
"""
