"""Clients of the metadata service that are not ours, run as their makers ship them, at the platform's own address."""
