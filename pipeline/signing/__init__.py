"""Signatures of bundles and images in the format of OpenSSF Model Signing."""
