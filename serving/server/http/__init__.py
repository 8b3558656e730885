"""What every request passes on its way, whatever it asks for."""
