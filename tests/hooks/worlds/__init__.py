"""Real servers on the bench, a module for each subject: how they start, and the stage on which their hooks are proved.

Every server lives in a directory of its own; nothing of the machine's installation is used but programs.
"""
