"""Our side of one arbiter: its settings, the state that outlives reloads, the supervisor."""
