"""A Ray cluster of two nodes on this machine, in a process of its own: `python cluster.py`.

It prints its address; told `kill`, it kills the second node and prints how many of the batch's actors were on it; it
ends with its standard input.
"""

from __future__ import annotations

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as `ray_engine.ALONE`: all on 127.0.0.1

import ray
from ray.cluster_utils import Cluster

NODE = {
    "num_cpus": 1,
    "object_store_memory": 100 * 2**20,
    "include_dashboard": False,
}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    print(cluster.address, flush=True)  # noqa: T201 - it is read
    for line in sys.stdin:
        if line.strip() == "kill":
            there = actors_on(cluster, second)
            cluster.remove_node(second, allow_graceful=False)
            print(there, flush=True)  # noqa: T201
    cluster.shutdown()


def actors_on(cluster: Cluster, node: ray._private.node.Node) -> int:
    """How many living actors a node has."""
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    found = ray._private.state.actors().values()
    ray.shutdown()
    return sum(one["State"] == "ALIVE" and one["Address"]["NodeID"] == node.node_id for one in found)


if __name__ == "__main__":
    main()
