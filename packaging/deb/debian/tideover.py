#!/usr/bin/python3 -IS
# The command of the package. Python starts without its site-packages (-S), whose search takes longer than all the rest
# of its start and would answer Ctrl-C with a trace; they are added below. The user's variables PYTHON* do not count
# (-I).
import _signal

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import site
import sys

site.main()

from tideover.cli import main

sys.exit(main())
