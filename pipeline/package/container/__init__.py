"""The OCI image of a run: three layers of Debian, packages and bundle, written without a builder."""
