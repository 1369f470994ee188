-- Records of messages that are handled alone, for the owners of a lane after this process; see ADR 17.
CREATE TABLE attempts (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    lane_id INTEGER NOT NULL REFERENCES lanes (id) ON DELETE CASCADE,
    -- The process that recorded it.
    instance BLOB NOT NULL,
    -- A `lane::proof::Attempt` as JSON.
    record TEXT NOT NULL
);

CREATE INDEX attempts_by_lane ON attempts (lane_id);
