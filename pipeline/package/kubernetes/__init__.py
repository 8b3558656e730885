"""Manifests of a run for Kubernetes and for KServe."""
