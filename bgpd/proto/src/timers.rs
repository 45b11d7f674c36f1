//! The timers of a session in one small table: set, clear, which is next.
