"""The rehearsal: the whole story of a rollout on a private copy, with real processes and real requests.

Owns: the copy's configuration, its processes, the clients, the acts of the story and what was promised of each.
Must not know: the terminal; what a splitter does inside: it is started as a command and asked over its admin API.
Invariants: nothing outside of the copy is contacted or written to; whatever happens, nothing of it is left afterwards.
"""
