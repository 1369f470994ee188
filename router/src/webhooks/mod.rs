//! Delivers events to integrator endpoints.
