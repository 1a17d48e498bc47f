"""The calls of Windows that several hands need, each with its types, and nothing more. Imported on Windows only.

A hand's own part for Windows lies in the hand (`hooks/windows`, `api/named_pipe`) and decides what the calls are for.
ctypes, not pywin32: that costs ten times the memory for what is used here. Names and constants are those of the Windows
SDK; learn.microsoft.com/windows/win32/api has each under its name.
"""
