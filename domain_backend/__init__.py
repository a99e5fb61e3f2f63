"""The camera service, written anew in layers: web, services, repositories, entities.

Owns: the new implementation of the camera API. Must not know: the old one, or the splitter in front of both.
A line goes down as far as it can: what a camera may do is in `entities`, what is stored where in `repositories`, what one
call does from first to last in `services`, and what a request and an answer look like in `web`.
"""
