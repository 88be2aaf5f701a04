"""The whole daemon as users run it: `leptond run` on RTSP cameras, watched through its sockets and files."""
