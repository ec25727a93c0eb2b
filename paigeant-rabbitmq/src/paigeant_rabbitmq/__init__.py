"""RabbitMQ: quorum queues with publisher confirms, over AMQP 0.9.1."""
