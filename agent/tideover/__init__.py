"""tideover carries the applications of one virtual machine over the platform's maintenance. The version's number."""

__version__ = "0.1.0"
