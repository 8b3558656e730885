"""The records of runs for people who watch many: a local file, TensorBoard and MLflow."""
