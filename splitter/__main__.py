"""`python -m splitter`: the command line without the console script.

Owns: nothing but that. Must not know: any command.
"""

from __future__ import annotations

from splitter.cli import main

if __name__ == "__main__":
    main(prog_name="splitter")
