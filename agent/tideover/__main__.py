"""Where the program starts: `tideover` and `python -m tideover`.

Nothing is imported before Ctrl-C ends the process without a message: while modules are loaded it would print a trace. A
process that was started with the signal ignored goes on ignoring it. (`signal` itself would load `enum` first.)
"""
import _signal

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import sys

from tideover.cli import main

if __name__ == "__main__":
    sys.exit(main())
