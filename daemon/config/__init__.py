"""The configuration: its shape (`settings.py`), and reading a file into it with all mistakes at once."""
