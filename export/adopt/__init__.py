"""Adoption: turns a published detector's ONNX file into the contract, without its training code.

Read in this order: `pipeline` (the steps), `signature` (what a file shows of itself), `families` (the table),
`family` (what a family must say), one file per family, `surgery` and `batch` (what wild files need), `graph`
(new nodes), `byhand` (each family's published post-processing in NumPy, the yardstick of parity).
"""
