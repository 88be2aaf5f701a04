"""The recorder sink: packets to segments, clips and snapshots; an index; retention."""
