//! Conformance: what every channel must do, proved for each kind in the registry against its simulator.
//!
//! | file | what it proves |
//! |---|---|
//! | `cases/inbound.rs` | every fixture is told; what is not sealed is refused; repeated, reordered and replayed payloads have the same ids |
//! | `cases/garbage.rs` | broken, truncated, oversized and mutated payloads: a defined answer, never a panic |
//! | `cases/trouble.rs` | 429, 5xx, slowness and cut connections: everything arrives, once or reported as uncertain, in order |
//! | `cases/contents.rs` | content of every type is sent, degraded with a report, or refused with a reason |
//! | `cases/actions.rs` | edits, deletions, reactions, typing and reading, as claimed |
//! | `cases/privacy.rs` | secrets, texts and addresses stay where they belong; nothing leaves the host |
//!
//! All of it runs on the harness as it is in a fleet (`world.rs`, on `../support/`): ingress server, lane runner on the
//! embedded bus, ledger on SQLite. Only the mutated payloads go to the connector itself (`bare.rs`).
//!
//! # How a new channel joins
//! 1. Write its simulator in `tests/simulators` and its stand in `stands/<kind>.rs`: an implementation of
//!    [`stands::Stand`], which is the provider's side and never looks into the connector.
//! 2. Add its line to `suite!` below. Without it `no_kind_is_forgotten` fails as soon as the kind is in the registry.
//! 3. `tests/run -p tributary-connectors --test conformance <kind>::`
//!
//! A case that fails is a fault of the connector until the provider's documents say otherwise; there is no list of
//! expected failures. What a provider cannot do (a widget's provider is ourselves, so it never answers 429) the stand says
//! by answering `false` from `play`; a stand may do that only when nothing is called over the network.
//!
//! `CONFORMANCE=full` runs 100,000 mutated payloads for each kind; `cases/garbage.rs` says how many run without it.

mod bare;
mod cases;
mod mutate;
mod stands;
#[path = "../support/mod.rs"]
mod support;
mod watch;
mod world;

use cases::{actions, contents, garbage, inbound, privacy, trouble};

macro_rules! cases {
    ($stand:ty: $($group:ident::{$($case:ident),* $(,)?};)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$group::$case::<$stand>().await;
            }
        )*)*
    };
}

/// A module of tests for each kind, and the list of kinds.
macro_rules! suite {
    ($($kind:ident: $stand:ty,)*) => {
        const KINDS: &[&str] = &[$(stringify!($kind)),*];

        $(mod $kind {
            cases! { $stand:
                inbound::{
                    every_fixture_is_told,
                    what_is_not_sealed_is_refused,
                    repeated_and_reordered_payloads_have_the_same_ids,
                    replayed_payloads_have_the_same_ids,
                };
                garbage::{
                    garbage_is_answered_and_survived,
                    mutants_are_told_or_refused,
                };
                trouble::{
                    trouble_is_survived_in_order,
                    an_uncertain_send_is_held_where_a_person_decides,
                };
                contents::{
                    every_content_is_sent_or_refused,
                    long_texts_arrive_whole,
                };
                actions::{
                    what_is_claimed_is_done,
                    what_is_not_claimed_is_refused,
                };
                privacy::{
                    secrets_and_texts_stay_where_they_belong,
                    nothing_leaves_the_host,
                };
            }
        })*
    };
}

suite! {
    custom: crate::stands::CustomStand,
    telegram: crate::stands::TelegramStand,
    widget: crate::stands::WidgetStand,
}

#[test]
fn no_kind_is_forgotten() {
    assert_eq!(
        world::kinds(),
        KINDS,
        "a kind without a stand, or a stand without its kind"
    );
}
