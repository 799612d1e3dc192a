//! Forwarding tables, their published snapshots and the layouts shared with the agent.
