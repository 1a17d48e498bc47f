"""Strict fakes: small servers with memory that refuse whatever the real one would refuse."""
