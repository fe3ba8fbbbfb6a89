"""A process that works on parts for its parent: `processes` starts it, and it asks for one part after the other."""

import threading
from multiprocessing.connection import Connection
from typing import Any

from llmbatch.core.errors import LlmbatchError
from llmbatch.core.parent import end_with_parent
from llmbatch.parts.remote import RemoteWorker, unpacked

__all__ = ["main"]


def main(descriptor: int, alive: int) -> None:
    """Work until there is no part left."""
    end_with_parent(alive)
    connection, lock = Connection(descriptor), threading.Lock()
    job = unpacked(connection.recv_bytes())

    def call(*message: Any) -> Any:
        with lock:
            connection.send(message)
            return connection.recv()

    worker: RemoteWorker | None = None
    while (number := call("next")) is not None:
        try:
            worker = worker or RemoteWorker(job, call)
        except LlmbatchError as error:
            call("end", error)
        else:
            call("end", worker.work(number))
