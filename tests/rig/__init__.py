"""Private brokers for tests: started on free ports, killed, paused, cut off, and never left behind.

Nothing is installed system-wide. ``brokers`` are single servers, ``clusters`` several, ``proxy`` a network that can
fail, ``versions`` other releases, ``packages`` where all their programs come from.
"""
