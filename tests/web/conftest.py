"""The fixture `serve`: a hub with a script, served."""

from scripted_hub import serve

__all__ = ["serve"]
