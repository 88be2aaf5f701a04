"""The events sink: detections to tracks, rules, events; a journal, and sockets to the world."""
