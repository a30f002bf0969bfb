"""The stages of ``dvc.yaml`` and their edges, as plain data."""

from housing.engine.graph.loader import load
from housing.engine.graph.nodes import Graph, StageNode

__all__ = ["Graph", "StageNode", "load"]
