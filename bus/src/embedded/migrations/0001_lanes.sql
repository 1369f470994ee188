-- Lanes and what is in them. Ids only rise (AUTOINCREMENT), and there is one writer at a time: the order of ids is the
-- order of commits, so reading on from the last id never skips a message.

CREATE TABLE lanes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- Which events flow into it: those of this organization that match one of the patterns (a JSON array).
    organization TEXT,
    patterns TEXT,
    -- Messages up to this id were handed out and not given back. After a crash each of them counts one redelivery more.
    handed INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane_id INTEGER NOT NULL REFERENCES lanes (id) ON DELETE CASCADE,
    redeliveries INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);

CREATE INDEX messages_by_lane ON messages (lane_id);

CREATE TABLE dead (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    lane TEXT NOT NULL,
    reason TEXT NOT NULL,
    -- Milliseconds since 1970.
    at INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- Copies for those who watch, made only while somebody does.
CREATE TABLE tap (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- Who watches; a watcher renews `until` (milliseconds since 1970). `seen`: copies are being made for it.
CREATE TABLE taps (
    id BLOB PRIMARY KEY,
    until INTEGER NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0
);

-- Written to find out whether the disk takes writes again.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
