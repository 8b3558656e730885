"""Everything that people are shown: progress, pages and figures."""
