"""The tree of errors; the class of an error is the policy for it.

LeptonError
├── FatalError               a restart cannot help; the process ends with `exit_code`, systemd does not restart it
│   ├── ConfigError          exit 2: the configuration is wrong
│   ├── ModelError           exit 3: the file is no model, or not one of the contract
│   └── DeviceError          exit 4: the named device cannot run the model
└── TransientError           the retry loop of its process catches it
    ├── StreamError          a camera's stream ended or never came; carries a reason code
    ├── SlotError            a shared-memory slot was overwritten or its owner is gone
    ├── MediaError           a segment, clip or snapshot cannot be written or read
    ├── DetectorUnsound      exit 5: the model gave wrong boxes for a picture whose boxes are known, or hangs
    └── WireTimeout          a peer did not answer in time; never to be read as "nothing there"

Every library's exception is translated into one of these where the library is used, `from exc`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

DisconnectReason = Literal[
    "dns", "refused", "auth", "timeout", "no_keyframe", "decode", "ended", "not_found", "protocol"
]


class LeptonError(Exception):
    """Base of all errors that this program raises on purpose."""

    exit_code: ClassVar[int] = 1


class FatalError(LeptonError):
    """Raised when a restart cannot help."""


class ConfigError(FatalError):
    """Raised when the configuration is wrong; the text lists every mistake, a line each."""

    exit_code = 2


class ModelError(FatalError):
    """Raised when the model file does not meet the contract; the text says which command mends it."""

    exit_code = 3


class DeviceError(FatalError):
    """Raised when a device that was named in the configuration cannot run the model."""

    exit_code = 4


class TransientError(LeptonError):
    """Raised when trying again can help."""


class StreamError(TransientError):
    """Raised when a stream cannot be opened or read on; `reason` is the code that status and events show."""

    def __init__(self, reason: DisconnectReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class SlotError(TransientError):
    """Raised when a frame's pixels are no longer what the message announced."""


class MediaError(TransientError):
    """Raised when a media file cannot be written, cut or read."""


class DetectorUnsound(TransientError):  # noqa: N818 - named as the event that it becomes, `detector.unsound`
    """Raised when the detector can no longer be believed; its process ends, so that nothing wrong gets out."""

    exit_code = 5


class WireTimeout(TransientError):  # noqa: N818 - the field's word; "WireTimeoutError" says nothing more
    """Raised when a peer did not answer in time."""
