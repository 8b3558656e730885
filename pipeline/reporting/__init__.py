"""What people are shown: progress, pages and figures."""
