"""Measurements of predictions: metrics, calibration and divergence."""
