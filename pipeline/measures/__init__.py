"""What is measured of predictions: metrics, calibration and divergence."""
