# Everyday commands: `just` lists them.

_list:
    @just --list

# Format everything
fmt:
    cargo fmt --all

# Formatting and lints, as CI checks them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Every test against private servers; arguments go to the test runner, e.g. `just test -p tributary-bus`
test *arguments:
    tests/run {{ arguments }}

# Messages per second and latency, against the raw flow of the broker
bench *arguments:
    tests/bench/run {{ arguments }}

# Licences, advisories and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny --locked check

# Write the JSON Schemas of the events and the documents of the API and the bus anew, after their Rust types changed
schemas:
    UPDATE_SCHEMAS=1 cargo test --locked -p tributary-bus schemas
    UPDATE_SCHEMAS=1 cargo test --locked -p tributary-router --test service committed

# All that a change must pass
ci:
    .ci/run

# The chaos test at full size: 200 contacts, 5,000 messages in, 2,000 replies. CHAOS_SEED repeats a schedule.
chaos:
    CHAOS=full tests/run -p tributary --test e2e chaos --no-capture

# The conformance suite with 100,000 mutated payloads for each kind of channel
conformance:
    CONFORMANCE=full tests/run -p tributary-connectors --test conformance

# A cluster of three brokers under load: each node is killed and stays away for a minute, restarts, hangs
cluster:
    CLUSTER=full tests/run -p tributary-bus --test cluster --no-capture

# The tests of the bus against RabbitMQ 4 in a folder of its own (needs root and Debian); arguments as of `just test`
rabbitmq4 *arguments:
    tests/rabbitmq4 {{ arguments }}
