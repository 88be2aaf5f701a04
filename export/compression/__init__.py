"""Compression: INT8 (`int8`, with `ranges` and `layers`), pruning (`channels`), and what they cost (`toll`)."""
