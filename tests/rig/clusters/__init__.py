"""Several servers that are one: their leaders may be killed."""

from rig.clusters.base import Cluster
from rig.clusters.nats import NatsCluster
from rig.clusters.rabbit import RabbitCluster
from rig.clusters.redis import RedisCluster
from rig.clusters.sentinel import RedisSentinel

__all__ = ["Cluster", "NatsCluster", "RabbitCluster", "RedisCluster", "RedisSentinel"]
