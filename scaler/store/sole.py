"""One daemon per store: two on one file would both act, each unaware of the other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaler.store.base import StoreError, StoreFault


@contextmanager
def sole_owner(path: Path) -> Iterator[None]:
    """Hold ``path`` + ``.lock`` while the body runs; the kernel lets go of it however the process ends.

    Raises `StoreError` at once if another process holds it, or if it cannot be made.
    """
    file = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(StoreFault.IO, f"{file}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(StoreFault.LOCKED, f"{path} belongs to another scaler that is running; give each its own store.path") from error
    try:
        yield
    finally:
        os.close(descriptor)
