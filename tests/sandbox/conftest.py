from sandbox_tools import folder, inside, isolation

__all__ = ["folder", "inside", "isolation"]
