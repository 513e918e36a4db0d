"""Keep the fleet within its memory limit: the guard decides, the executor acts."""
