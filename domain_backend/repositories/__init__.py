"""Where cameras and rules are kept: the camera file and the database, behind a few questions.

Owns: files, SQL, and the mapping to entities. Must not know: why something is asked or saved.
"""
