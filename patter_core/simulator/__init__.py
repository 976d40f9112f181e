"""The other side of every wire, for demos, tests and load: a simulated carrier, its handset, and a virtual network.

Boards like the server itself: either adapter carries them over real sockets, the virtual network over none.
"""
