//! The alternating training step, EMA, clipping, checkpoint and resume, events.
