//! Scenario, model and property tests; the demo.
