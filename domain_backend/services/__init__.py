"""What can be done with cameras and rules, one call each, from first to last.

Owns: the order of the steps and what belongs into one transaction. Must not know: HTTP, SQL, files.
Every call may block for a lock, so the web layer runs it in a thread.
"""
