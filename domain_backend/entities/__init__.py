"""What cameras and alert rules are, whoever stores or serves them.

Owns: their rules. Must not know: files, SQL, HTTP, the time (it is an argument).
"""
