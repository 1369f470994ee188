//! Tables for people to read, and properties of everything.

mod any;
mod check;
mod properties;
mod table;

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// The same cases each time, so that a red run is about what was changed; PROPTEST_RNG_SEED and PROPTEST_CASES explore others.
pub(in crate::render) fn explored() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let rng_seed = match std::env::var_os("PROPTEST_RNG_SEED") {
        Some(_) => usual.rng_seed,
        None => RngSeed::Fixed(2026),
    };
    ProptestConfig {
        cases: usual.cases.max(500),
        rng_seed,
        ..usual
    }
}
