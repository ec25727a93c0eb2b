"""NATS JetStream: work queues, and a state store on its key-value buckets."""
