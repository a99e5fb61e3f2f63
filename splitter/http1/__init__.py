"""HTTP/1.1 (RFC 9110, 9112) without I/O: bytes to heads and bodies, heads to bytes.

httptools (llhttp) judges the syntax of a head; what it lets pass is judged here; bodies are framed here, because llhttp
reads past the end of a message and does not know which request a response belongs to.
"""
