"""The service of a pip installation, in the words of the service manager that this machine has.

systemd's is the same unit as the Debian package's, from the same file, beside this one. Nothing here starts an agent
itself.
"""
import sys

from tideover.service_manager import ServiceReport

if sys.platform == "win32":
    from tideover.service.windows.scm import check_ours, install, read_report, remove, start, stop
else:
    from tideover.service.systemd_unit import check_ours, install, read_report, remove, start, stop

__all__ = ["ServiceReport", "check_ours", "install", "read_report", "remove", "start", "stop"]
