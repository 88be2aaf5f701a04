"""The errors of the laboratory.

LabError             anything a user can mend; the command prints it and exits 1
├── ContractError    a file is not a model of the contract, or not the one that its metadata says
├── AdoptError       a foreign model cannot be adopted; the message names the reason in the graph
├── DatasetError     a dataset is missing, empty or out of format
└── QualityError     a model lost more than was allowed, or failed verification
"""


class LabError(Exception):
    """Base of all; its text names the file and the remedy."""


class ContractError(LabError):
    """Raised when an ONNX file does not meet the model contract."""


class AdoptError(LabError):
    """Raised when a foreign model cannot be turned into the contract."""


class DatasetError(LabError):
    """Raised when a dataset cannot be read as asked."""


class QualityError(LabError):
    """Raised when a model measures worse than was allowed."""
