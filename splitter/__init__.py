"""A reverse proxy that moves clients from an old service to its rewrite, and back in an instant."""


def __getattr__(name: str) -> str:
    """`__version__`, worked out when it is asked for: importlib.metadata takes longer to import than a rollback takes."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("camera-splitter")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"
