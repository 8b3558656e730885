"""What is kept of a training: how weights are judged, compared, averaged and chosen."""
