"""The commands, a module each. Nothing but `cli` imports them, and no server ever does."""
