//! Scripts of misbehaviour: which requests, how often, and what then.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lock;

/// How often a rule applies to the requests that fit it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// The next so many.
    Count(u32),
    /// Each one, until the script is cleared.
    Always,
    /// Each one with this probability (0 to 1); the same seed gives the same choices.
    Chance {
        /// 0 never, 1 always.
        probability: f64,
        /// Of the rule's own random numbers.
        seed: u64,
    },
}

/// One line of a script.
#[derive(Debug, Clone)]
pub struct Rule<M, A> {
    /// Which requests it is about.
    pub matches: M,
    /// How many of them it lets pass first.
    pub skip: u32,
    /// How often it applies after that.
    pub times: Times,
    /// What happens instead of, or on top of, the usual.
    pub action: A,
}

impl<M, A> Rule<M, A> {
    /// A rule that applies from the first fitting request on.
    pub fn new(matches: M, times: Times, action: A) -> Self {
        Self {
            matches,
            skip: 0,
            times,
            action,
        }
    }

    /// The same, after letting `skip` fitting requests pass.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }
}

struct Armed<M, A> {
    rule: Rule<M, A>,
    random: StdRng,
}

impl<M, A> Armed<M, A> {
    fn fires(&mut self) -> bool {
        if self.rule.skip > 0 {
            self.rule.skip -= 1;
            return false;
        }
        match &mut self.rule.times {
            Times::Count(0) => false,
            Times::Count(left) => {
                *left -= 1;
                true
            }
            Times::Always => true,
            Times::Chance { probability, .. } => self.random.random::<f64>() < *probability,
        }
    }
}

/// The rules in force. For each request the first rule that fits and fires is the one that applies.
pub(crate) struct Script<M, A>(Mutex<Vec<Armed<M, A>>>);

impl<M, A: Clone> Script<M, A> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn add(&self, rule: Rule<M, A>) {
        let seed = match rule.times {
            Times::Chance { seed, .. } => seed,
            Times::Count(_) | Times::Always => 0,
        };
        lock(&self.0).push(Armed {
            rule,
            random: StdRng::seed_from_u64(seed),
        });
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn next(&self, fits: impl Fn(&M) -> bool) -> Option<A> {
        let mut rules = lock(&self.0);
        rules.retain(|armed| armed.rule.times != Times::Count(0));
        rules.iter_mut().find_map(|armed| {
            (fits(&armed.rule.matches) && armed.fires()).then(|| armed.rule.action.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_counts_then_ends() {
        let script = Script::new();
        script.add(Rule::new("a", Times::Count(2), 1).after(1));
        let fired: Vec<_> = (0..5)
            .map(|_| script.next(|matches| *matches == "a"))
            .collect();
        assert_eq!(fired, [None, Some(1), Some(1), None, None]);
        assert_eq!(script.next(|matches| *matches == "b"), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        let choices = |seed| {
            let script = Script::new();
            script.add(Rule::new(
                (),
                Times::Chance {
                    probability: 0.3,
                    seed,
                },
                (),
            ));
            (0..200)
                .map(|_| script.next(|()| true).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        let fired = choices(7).into_iter().filter(|fired| *fired).count();
        assert!((30..90).contains(&fired), "{fired} of 200 at 0.3");
    }
}
