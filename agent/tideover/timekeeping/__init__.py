"""Arithmetic on clock readings and on the words of time servers. Reads no clock and sends nothing."""
