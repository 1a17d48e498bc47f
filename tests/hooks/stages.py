"""For each hook the smallest real world in which it has something to do: its servers, what recover must restore, how to freeze them.

The conformance suite plays the same laws on every stage. A hook without a stage has no proof, and a test says so.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .bench import Bench
from .stage import Stage
from .worlds.etcd import etcd_move_leader
from .worlds.mariadb import galera_leave
from .worlds.media import janus_drain, media_rtmp_drain
from .worlds.others import kubernetes_cordon, tcp_reset_after_resume, webhook
from .worlds.postgres import patroni_switchover
from .worlds.rabbitmq import rabbitmq_drain
from .worlds.sentinel import redis_sentinel
from .worlds.services import service_stop
from .worlds.streaming import flink_checkpoint
from .worlds.web import haproxy_drain, keepalived_vrrp, lb_health

STAGES: dict[str, Callable[[Bench, Path], Stage]] = {
    "lb-health": lb_health,
    "haproxy-drain": haproxy_drain,
    "keepalived-vrrp": keepalived_vrrp,
    "redis-sentinel": redis_sentinel,
    "patroni-switchover": patroni_switchover,
    "etcd-move-leader": etcd_move_leader,
    "rabbitmq-drain": rabbitmq_drain,
    "flink-checkpoint": flink_checkpoint,
    "media-rtmp-drain": media_rtmp_drain,
    "janus-drain": janus_drain,
    "galera-leave": galera_leave,
    "kubernetes-cordon": kubernetes_cordon,
    "service-stop": service_stop,
    "tcp-reset-after-resume": tcp_reset_after_resume,
    "webhook": webhook,
}

