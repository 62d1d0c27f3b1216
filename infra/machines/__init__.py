"""Rents machines of Compute Engine, looks at them and gives them back, through the official client only."""
