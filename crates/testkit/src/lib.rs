//! Fault and crash stores, simulated clock, contract suites: a dev-dependency only.
