//! What the provider would never bring.
//!
//! Of mutated payloads there are [`FULL`] for each kind with `CONFORMANCE=full`, as many for all kinds together in CI
//! (where `CI` is set), and [`USUAL`] for each kind elsewhere. Measured in a debug build on two busy cores: 20,000 take 6 s
//! for Telegram and 18 s for the widget, whose mutants travel through its mailbox.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::{
    bare::Bare,
    mutate::mutant,
    stands::{Answer, Fed, Seal, Stand},
    watch,
    world::{self, World},
};

const FULL: u64 = 100_000;
const USUAL: u64 = 20_000;
/// Mutants handed over at once.
const BATCH: u64 = 100;

/// A defined answer to everything, and the process lives.
pub async fn garbage_is_answered_and_survived<S: Stand>() {
    let world = World::<S>::new().await;
    let stand = &world.stand;
    let whole = stand.says(1, "whole");
    let mut large = stand.says(2, &"x".repeat(300_000));
    large.extend_from_slice(b"   ");
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{ not JSON".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"5".to_vec(),
        b"{}".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &whole[..]].concat(),
        vec![0xff, 0xfe, 0xc3, 0x28],
        vec![0; 1000],
        vec![b'['; 50_000],
        String::from_utf8_lossy(&whole)
            .replace("\"whole\"", "[7]")
            .into_bytes(),
        String::from_utf8_lossy(&whole)
            .replace(':', "::")
            .into_bytes(),
    ];
    for payload in &garbage {
        let answer = stand.post(payload, Seal::Right).await;
        let defined = match answer {
            Answer::Taken => true,
            Answer::Refused(status) => (400..499).contains(&status),
        };
        assert!(defined, "{}: {answer:?}", S::KIND);
    }
    let answer = stand.post(&large, Seal::Right).await;
    assert!(
        // Nobody reads such a frame to its end, so there may be no word.
        matches!(answer, Answer::Refused(400 | 413 | 499)),
        "{}: too large is answered with {answer:?}",
        S::KIND
    );
    let answer = stand.post(&whole, Seal::Right).await;
    assert_eq!(answer, Answer::Taken, "{}: it lives", S::KIND);
    world.ends_well().await;
}

fn count() -> u64 {
    let kinds = world::kinds().len().max(1);
    match std::env::var("CONFORMANCE").as_deref() {
        Ok("full") => FULL,
        _ if std::env::var_os("CI").is_some() => FULL.div_ceil(kinds as u64),
        _ => USUAL,
    }
}

/// Never a panic, never silence: an event or a defined refusal.
pub async fn mutants_are_told_or_refused<S: Stand>() {
    watch::count_panics();
    drop(rustls::crypto::ring::default_provider().install_default());
    let stand = S::start().await;
    let bare = Bare::new(&stand).await;
    let seeds = stand.seeds();
    let (mut told, mut refused) = (0_u64, 0_u64);
    for first in (0..count()).step_by(usize::try_from(BATCH).expect("small")) {
        let batch: Vec<Vec<u8>> = (first..first + BATCH)
            .map(|number| mutant(&seeds, number))
            .collect();
        let fed = AssertUnwindSafe(stand.feed(&bare, &batch)).catch_unwind();
        let Ok(fed) = fed.await else {
            panic!("{}: one of the mutants from {first} on panics", S::KIND);
        };
        assert_eq!(fed.len(), batch.len());
        for (number, (fed, payload)) in (first..).zip(fed.iter().zip(&batch)) {
            match fed {
                Fed::Refused(_) => refused += 1,
                Fed::Told(0) if !stand.is_silent(payload) => panic!(
                    "{}: mutant {number} is met with silence: {}",
                    S::KIND,
                    String::from_utf8_lossy(payload)
                ),
                Fed::Told(_) => told += 1,
                Fed::Wrong(why) => panic!(
                    "{}: mutant {number}: {why}: {}",
                    S::KIND,
                    String::from_utf8_lossy(payload)
                ),
            }
        }
    }
    // Neither all are refused at the door, nor does everything pass unseen.
    assert!(
        told > 0 && bare.bus.published() > 0,
        "{}: {told} of {refused}",
        S::KIND
    );
    assert_eq!(watch::panics(), 0, "{}", S::KIND);
}
