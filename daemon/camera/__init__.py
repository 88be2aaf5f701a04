"""The camera reader: a process a camera, from packets to frames in shared memory."""
