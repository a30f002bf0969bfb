"""DVC's side: reading the graph of stages, and running exactly one of them, safely."""
