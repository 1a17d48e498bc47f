"""The service of a pip installation: the same unit as the Debian package's, from the same file, beside this one.

Writes and removes one file, and has systemd do the rest. It never starts an agent itself.
"""
from tideover.service.installation import Report, install, read_report, remove, start, stop

__all__ = ["Report", "install", "read_report", "remove", "start", "stop"]
