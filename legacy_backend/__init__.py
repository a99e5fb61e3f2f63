"""The camera service as it always was: each handler reads, checks, asks the database and answers.

Owns: the old implementation of the camera API. Must not know: the rewrite, or the splitter in front of both.
It is kept as it is, on purpose: what the rewrite must be equal to.

What callers rely on, and the rewrite has to do as well:
- Checks come in this order: body (400, every fault at once), camera or rule (404), state (409).
- start and restart want an active camera. restart starts a stopped one. stop of a stopped camera is refused.
- deactivate stops a camera that runs. activate, deactivate and auto-start are settings: doing it twice is no error.
- delete is refused unless the camera is stopped or in error. Alert rules that name the camera are kept, disabled.
- PUT of a camera replaces name and source; what else is not given stays as it is.
- A source that gives no picture: 422, and the camera is in state `error` with the reason in `last_error`.
"""
