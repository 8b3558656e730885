"""What a training starts from: decoded samples, frozen features, heads, and what is decided of them."""
