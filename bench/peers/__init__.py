"""The programs beside which rebind is timed, each in an environment of its own."""
