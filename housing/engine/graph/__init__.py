"""The stages of ``dvc.yaml`` and their edges, as plain data."""

from housing.engine.graph.loader import Graph, StageNode, load

__all__ = ["Graph", "StageNode", "load"]
