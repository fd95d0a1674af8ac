"""What every worker process of the data room does first."""

import multiprocessing
import os
import signal
import threading


def die_with_parent() -> None:
    """Leave interrupts to the parent, and end when it is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
