"""The database as threads use it: connections given back after each use, and patience while it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)
AWAY = (OperationalError, InterfaceError)
LONGEST_PAUSE_S = 2.0

T = TypeVar("T")


@contextmanager
def connected() -> Iterator[None]:
    """Use the database and give the connection back, so that a broken one is not used again."""
    try:
        yield
    finally:
        connection.close()


def patiently(write: Callable[[], T], *, give_up: Callable[[], bool] = lambda: False) -> T:
    """Do a write, again and again while the database is away; raises its error once `give_up` says so."""
    pause = 0.1
    while True:
        try:
            with connected():
                return write()
        except AWAY as error:
            if give_up():
                raise
            logger.warning("the database does not answer (%s); trying again", str(error).strip().splitlines()[0] if str(error) else error)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
