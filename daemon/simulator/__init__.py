"""A camera simulator: files served as looping RTSP cameras, for the demo, the tests and whoever sizes a box.

Read it in this order: `media` (a clip's access units), `rtp` and `sdp` (what goes on the wire), `auth`, `messages`
(RTSP requests and answers), `player` (one client's film, paced), `server` (connections), `simulator` (the whole, in a
thread), `command` (the command line). `scene` draws the film that the demo shows.

Clips are sent as they are, never re-encoded, in TCP connections only. Faults are no part of it yet; each access unit
passes through `player.Player._send`, and nowhere else.
"""
