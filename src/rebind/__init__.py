"""rebind turns the address of a repository into a running interactive session."""

__version__ = "0.1.0"
