"""Redis and Valkey: Streams as queues, and a state store on the same server."""
