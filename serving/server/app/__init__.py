"""The application: its parts, the table of endpoints, and the frame around them."""
