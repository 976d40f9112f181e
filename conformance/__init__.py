"""Vectors, schemas and runners: what any implementation of these protocols can be held to. Never installed."""
