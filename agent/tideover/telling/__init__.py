"""What people are told: sentences, facts and tables with a tone, without layout. Pure.

The commands lay this out for a terminal; `tideover run` imports nothing of it.
"""
