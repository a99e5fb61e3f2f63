"""What both camera services share: the data they keep, and the ground they stand on.

Owns: the camera file, the database, pictures, fault injection, and how a service starts and stops. Must not know: the
rules of the camera API. Each service has its own, for one is to replace the other.

Where things live:
- The camera file (YAML, also edited by people) holds the definitions: id, name, source, active, auto_start, fps, size.
- The database (SQLite in the data directory) holds what happens: run state, logs, alert rules, and every change of state
  as a numbered row, so that a client connected to either service hears of it.

Both processes write both. The order of locks is fixed: the camera file's lock, then the database's write lock. Whoever
moves a camera or writes a rule holds both, so "is it active", "what state is it in" and the write are one step.
A running camera stays running when a service restarts: state belongs to the camera, not to the process that set it.
"""
