"""Windows calls that several packages need, and nothing more. Imported on Windows only.

A package's own Windows part lies in the package (`hooks/windows_process`, `api/named_pipe`) and decides how to use
them. They are pywin32's; ctypes only where pywin32 has no such call, with the reason beside it. Handles are plain
numbers, closed with `close_handle`; failures are OSError.
"""
