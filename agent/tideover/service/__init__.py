"""The service of a pip installation, in the words of the service manager that this machine has.

systemd's is the same unit as the Debian package's, from the same file, beside this one. Nothing here starts an agent
itself.
"""
import sys

from tideover.service.report import Report

if sys.platform == "win32":
    from tideover.service.windows.registration import check_ours, install, remove
    from tideover.service.windows.scm import read_report, start, stop
else:
    from tideover.service.installation import check_ours, install, read_report, remove, start, stop

__all__ = ["Report", "check_ours", "install", "read_report", "remove", "start", "stop"]
