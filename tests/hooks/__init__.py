"""Proofs of the hook library: every hook run as the agent runs it, against real servers and strict fakes."""
