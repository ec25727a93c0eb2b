"""NATS JetStream: work queues, and a state store on the same server."""
