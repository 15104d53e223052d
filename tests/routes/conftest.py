from conftest_routes import make_stage, stage

__all__ = ["make_stage", "stage"]
