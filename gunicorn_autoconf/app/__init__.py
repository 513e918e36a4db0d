"""What the application speaks, from its source or from the loaded object."""
