"""The laboratory: trains, adopts, compresses, verifies and explains models of the one contract in `contract.py`."""
