"""Registers what this distribution brings. Imports no client library."""
