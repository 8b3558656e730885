"""Train, measure, export, prove and package. The command line is :mod:`pipeline.cli`."""
