"""Frames in shared memory: a ring of slots that its reader process owns and the worker maps read-only.

Anonymous memory (memfd) without a name: when the last process that maps it is killed, nothing stays behind. The worker
reaches it through /proc/PID/fd/FD. Every slot has a sequence number (a seqlock): odd while its owner writes, even when
the pixels are complete; a copy counts only when the number was the announced one before and after.
No lock, so a killed process poisons nobody.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from collections import OrderedDict
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .errors import SlotError
from .messages import SlotRef

Pixels = NDArray[np.uint8]

_MAGIC: Final = 0x6C657074_72696E67  # "leptring"
_HEADER_WORDS: Final = 4  # magic, ring_id, slots, slot_bytes
_GUARD_WORDS: Final = 8  # one guard to a cache line, so that two slots do not share one
_MAX_RINGS: Final = 512  # in one worker; more than the cameras of any box


def _pixels_at(slots: int) -> int:
    """Return where slot 0 begins: on the first page after header and guards."""
    head_bytes = 8 * _GUARD_WORDS * (1 + slots)
    return -(-head_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _stride(slot_bytes: int) -> int:
    return -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


class _Layout:
    """The words and slots of a mapped ring, the same for its owner and for who reads it."""

    def __init__(self, memory: mmap.mmap, slots: int, slot_bytes: int) -> None:
        self.memory = memory
        words = np.frombuffer(memory, np.uint64, count=_GUARD_WORDS * (1 + slots))
        self.header = words[:_HEADER_WORDS]
        self.guards = words[_GUARD_WORDS::_GUARD_WORDS]
        first, stride = _pixels_at(slots), _stride(slot_bytes)
        self.slots = [np.frombuffer(memory, np.uint8, slot_bytes, first + i * stride) for i in range(slots)]

    def close(self) -> None:
        """Unmap, unless somebody still holds a view: then the memory goes with the view."""
        del self.header, self.guards, self.slots
        with suppress(BufferError):
            self.memory.close()


class RingWriter:
    """The owner's side: `slots` slots of `slot_bytes` bytes each, in memory that dies with this process."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slot_bytes = slot_bytes
        self._ring_id = secrets.randbits(63)
        self._fd = os.memfd_create("leptond-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = _pixels_at(slots) + slots * _stride(slot_bytes)
        os.ftruncate(self._fd, size)
        # Sealed, the size cannot change under a worker that has it mapped: that would be SIGBUS there.
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._layout = _Layout(mmap.mmap(self._fd, size), slots, slot_bytes)
        self._layout.header[:] = (_MAGIC, self._ring_id, slots, slot_bytes)

    def __len__(self) -> int:
        return len(self._layout.slots)

    def begin(self, index: int) -> Pixels:
        """Return slot `index` as uint8 [slot_bytes] to write into; from now on nobody takes its old pixels for good."""
        guards = self._layout.guards
        guards[index] = int(guards[index]) | 1
        return self._layout.slots[index]

    def commit(self, index: int) -> int:
        """Say that the slot is complete; return its guard."""
        guards = self._layout.guards
        guards[index] = int(guards[index]) + 1
        return int(guards[index])

    def ref(self, index: int) -> SlotRef:
        """Return how another process of this host finds the slot as it is now."""
        guard = int(self._layout.guards[index])
        return SlotRef(pid=os.getpid(), fd=self._fd, ring_id=self._ring_id, index=index, guard=guard)

    def close(self) -> None:
        """Give the memory up; workers that still map it keep it until they forget it."""
        self._layout.close()
        os.close(self._fd)


class _Mapped:
    """A ring of another process, mapped read-only."""

    def __init__(self, ref: SlotRef) -> None:
        self._path = f"/proc/{ref.pid}/fd/{ref.fd}"
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            text = f"frame memory {self._path}: {exc.strerror}; its reader is gone or runs as another user"
            raise SlotError(text) from exc
        try:
            self._layout = self._map(fd, ref)
        finally:
            os.close(fd)

    @staticmethod
    def _map(fd: int, ref: SlotRef) -> _Layout:
        size = os.fstat(fd).st_size
        if size < mmap.PAGESIZE or not _sealed(fd):
            raise SlotError(f"process {ref.pid} fd {ref.fd} is no ring of frames")
        memory = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        words = np.frombuffer(memory, np.uint64, count=_HEADER_WORDS)
        magic, ring_id, slots, slot_bytes = (int(word) for word in words)
        del words
        if (magic, ring_id) != (_MAGIC, ref.ring_id) or _pixels_at(slots) + slots * _stride(slot_bytes) != size:
            memory.close()
            raise SlotError(f"process {ref.pid} fd {ref.fd} is not the ring that was announced")
        return _Layout(memory, slots, slot_bytes)

    def has_owner(self) -> bool:
        """Return False when the owner closed the ring or died; a zombie has no open files."""
        return os.path.exists(self._path)  # noqa: PTH110 - no Path object for a look at /proc

    def copy_into(self, ref: SlotRef, out: Pixels) -> None:
        """Copy one slot; raise SlotError unless its guard is the announced one before and after."""
        if not 0 <= ref.index < len(self._layout.slots):
            raise SlotError(f"ring of process {ref.pid} has no slot {ref.index}")
        slot, guards = self._layout.slots[ref.index], self._layout.guards
        if slot.size != out.size:
            raise SlotError(f"slot has {slot.size} bytes, {out.size} wanted")
        if int(guards[ref.index]) == ref.guard:
            np.copyto(out, slot.reshape(out.shape))
            if int(guards[ref.index]) == ref.guard:
                return
        raise SlotError(f"slot {ref.index} of process {ref.pid} was overwritten")

    def close(self) -> None:
        """Unmap."""
        self._layout.close()


def _sealed(fd: int) -> bool:
    """Return whether the file is a memfd whose size is fixed."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:  # not a memfd at all
        return False


class RingReader:
    """The worker's side: maps each ring once and copies frames out of it."""

    def __init__(self, max_rings: int = _MAX_RINGS) -> None:
        self._max_rings = max_rings
        self._rings: OrderedDict[tuple[int, int], _Mapped] = OrderedDict()  # by (pid, ring_id), last used last

    def __len__(self) -> int:
        return len(self._rings)

    def open(self, ref: SlotRef) -> None:
        """Map the ring of `ref` unless it is mapped; the one used longest ago goes when there are too many.

        Raises SlotError when its owner is gone, or the memory is not the announced ring.
        """
        key = (ref.pid, ref.ring_id)
        if key not in self._rings:
            self._rings[key] = _Mapped(ref)
            while len(self._rings) > self._max_rings:
                self._rings.popitem(last=False)[1].close()
        self._rings.move_to_end(key)

    def copy_into(self, ref: SlotRef, out: Pixels) -> None:
        """Copy the slot's pixels into `out`, uint8 of any shape with the slot's size, such as [3, height, width].

        Raises SlotError when the slot was written again before the copy was done, or its owner is gone; `out` is then
        undefined.
        """
        self.open(ref)
        self._rings[ref.pid, ref.ring_id].copy_into(ref, out)

    def forget(self, pid: int, ring_id: int) -> None:
        """Unmap a ring; harmless when it is not mapped."""
        ring = self._rings.pop((pid, ring_id), None)
        if ring is not None:
            ring.close()

    def forget_dead(self) -> None:
        """Unmap the rings that their owners closed or left behind; to be called now and then."""
        for (pid, ring_id), ring in list(self._rings.items()):
            if not ring.has_owner():
                self.forget(pid, ring_id)

    def close(self) -> None:
        """Unmap all."""
        for pid, ring_id in list(self._rings):
            self.forget(pid, ring_id)
