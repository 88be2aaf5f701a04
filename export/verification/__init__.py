"""Verification: what a model of the contract must keep before it watches anything.

`checks` is the table; `trial` holds the pictures and the model under trial; `parity` compares with the source;
`known_answer` stores a picture and its boxes for the daemon's own heartbeat.
"""
