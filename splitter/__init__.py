"""A reverse proxy that moves clients from an old service to its rewrite, and back in an instant."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("camera-splitter")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
