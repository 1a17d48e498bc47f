"""A real service that does nothing but be stopped and paused: what the hook for services is tried on.

`sample_service.py install NAME`, `remove NAME`; the service manager starts `sample_service.py run NAME`.
"""
from __future__ import annotations

import sys

import servicemanager
import win32event
import win32service
import win32serviceutil


class Sample(win32serviceutil.ServiceFramework):
    """Takes STOP, PAUSE and CONTINUE."""

    _svc_name_ = sys.argv[2] if len(sys.argv) > 2 else "Sample"

    def __init__(self, words):
        super().__init__(words)
        self.end = win32event.CreateEvent(None, 1, 0, None)

    def SvcStop(self):
        self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING)
        win32event.SetEvent(self.end)

    def SvcPause(self):
        self.ReportServiceStatus(win32service.SERVICE_PAUSED)

    def SvcContinue(self):
        self.ReportServiceStatus(win32service.SERVICE_RUNNING)

    def SvcDoRun(self):
        self.ReportServiceStatus(win32service.SERVICE_RUNNING)
        win32event.WaitForSingleObject(self.end, win32event.INFINITE)


def install(name):
    manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_ALL_ACCESS)
    command = f'"{sys.executable}" "{__file__}" run {name}'
    win32service.CreateService(manager, name, name, win32service.SERVICE_ALL_ACCESS, win32service.SERVICE_WIN32_OWN_PROCESS,
                               win32service.SERVICE_DEMAND_START, win32service.SERVICE_ERROR_NORMAL, command, None, 0,
                               None, None, None)


if __name__ == "__main__":
    what, name = sys.argv[1:3]
    if what == "run":
        servicemanager.Initialize(name, None)
        servicemanager.PrepareToHostSingle(Sample)
        servicemanager.StartServiceCtrlDispatcher()
    elif what == "install":
        install(name)
    else:
        win32serviceutil.RemoveService(name)
