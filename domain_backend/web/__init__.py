"""The camera API as HTTP: requests into calls of services, entities into JSON, refusals into statuses.

Owns: paths, bodies, answers. Must not know: what is allowed, and where anything is stored.
"""
