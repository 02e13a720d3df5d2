//! Floor 2: ports and flows. A flow decides as data, executes, then judges, inside the ledger.
