-- What the processes of a fleet must agree on. `inbound_lanes`: the number that every process must use.
-- `probe`: written by the checks of readiness. A name of its own: the router may share the database.
CREATE TABLE connectors_fleet (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
