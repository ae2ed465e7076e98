//! Plugins: schedules.
