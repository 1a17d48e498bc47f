"""The agent as a service of Windows: what its service control manager says and hears, and how it is registered there.

Only `service`, `scm` and `install` need Windows; what is decided is in the others, which run anywhere.
"""
