"""With whose rights this process runs. Chosen here, once."""
from __future__ import annotations

import sys

if sys.platform == "win32":
    from tideover.winapi.security import is_administrator

    MIGHTY, BECOME_MIGHTY = "an administrator", "in a window opened as administrator"

    def user_id() -> int:
        """Return 0 for a process with an administrator's rights, as Linux does for root; else 1."""
        return 0 if is_administrator() else 1

else:
    import os

    MIGHTY, BECOME_MIGHTY = "root", "with sudo"

    def user_id() -> int:
        """Return the number of the user that this process acts as; 0: root."""
        return os.geteuid()
