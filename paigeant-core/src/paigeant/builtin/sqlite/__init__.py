"""Queues and a state store in a SQLite file."""
