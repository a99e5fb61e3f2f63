"""What can go wrong with the shared data, each with a sentence for a person.

Owns: these exceptions. Must not know: which HTTP status a service makes of them.
"""

from __future__ import annotations


class CameraDataError(Exception):
    """Base of the errors raised on purpose in this package."""


class CameraFileError(CameraDataError):
    """The camera file can't be read, is not what it should be, or can't be replaced. Names the file and the fault."""


class StoreError(CameraDataError):
    """The database can't be opened or was made by a newer version."""


class StoreBusyError(CameraDataError):
    """Another process held a lock for longer than anybody should. Nothing was changed; asking again is safe."""


class SourceError(CameraDataError):
    """A camera's source gives no picture: it is not there, or it is not a picture."""


class FaultSpecError(CameraDataError):
    """A fault that can't be injected as it was written. `faults` lists everything wrong."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class BodyError(CameraDataError):
    """A request's body is not a JSON object."""
