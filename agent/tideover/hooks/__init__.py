"""Hooks: programs of this machine that prepare and recover its applications.

`directory` says what lies in the directory, `runner` runs one of them at a time each, `orphans` ends what an agent that
died has left running. What differs between Linux and Windows is in `posix_process` and `windows_process`, chosen where
processes are started and ended, and in `posix_trust` and `windows_trust`, chosen in `trust`; nothing else here knows
the system. Nothing is imported here: a command that only reads the directory needs no processes.
"""
