//! The guard: no order beyond what a CA's rate limits allow. Pure functions of the recorded past.
