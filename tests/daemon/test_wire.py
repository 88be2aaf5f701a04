"""What must hold of a plane between two processes, whatever travels on it."""

import subprocess
import sys
from pathlib import Path

from daemon.messages import FromStream, StreamEnd
from daemon.wire import Receiver, ipc

from .children import wait_for

ROOT = Path(__file__).parents[2]
SENDER = """
import sys
from pathlib import Path
from daemon.messages import StreamEnd
from daemon.wire import Sender, drain, ipc
sender = Sender(ipc(Path(sys.argv[1]), "packets"), linger_ms=60_000)
for number in range(64):
    assert sender.send(StreamEnd(camera="gate", stream_id=number, reason="stopped"))
sender.close()
print("closed", flush=True)
drain(60)
"""


def test_what_a_process_sent_before_its_end_reaches_a_peer_that_comes_late(tmp_path: Path) -> None:
    """A recorder that is just being restarted misses nothing of a reader that is stopped."""
    command = [sys.executable, "-c", SENDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == b"closed\n"

        receiver: Receiver[FromStream] = Receiver(ipc(tmp_path, "packets"), FromStream)

        for number in range(64):
            message = wait_for(receiver.receive, "what was queued")
            assert isinstance(message, StreamEnd)
            assert message.stream_id == number
        assert sender.wait(60) == 0
    receiver.close()
