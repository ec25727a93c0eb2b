"""Plain values shared by every layer. Imports nothing else of ours but ``errors``."""
