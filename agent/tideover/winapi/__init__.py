"""Windows calls that several packages need, each with its types, and nothing more. Imported on Windows only.

A package's own Windows part lies in the package (`hooks/windows_process`, `api/named_pipe`) and decides how to use
them. ctypes, not pywin32: that costs ten times the memory for what is used here. Names and constants are those of the
Windows SDK; learn.microsoft.com/windows/win32/api has each under its name. """
