"""What a proven bundle becomes: a Bento, an OCI image, a Triton repository, manifests."""
