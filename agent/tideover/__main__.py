"""`python -m tideover`: the same as the command."""
import sys

from tideover.cli import main

sys.exit(main())
