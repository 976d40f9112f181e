"""The edge: blocking, loop-neutral code that the adapters share and the core may never import.

Here live the things that touch files, the environment, sockets, threads or their libraries without knowing which event
loop runs: fault tables, named handlers, the thread pool, TLS as bytes in and bytes out. Never asyncio, never trio.
"""
