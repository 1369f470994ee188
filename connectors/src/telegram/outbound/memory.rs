//! What sending has taught about the bot's chats. Lost with the process; whatever is forgotten is learnt anew.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tributary_bus::Address;

use crate::{Scope, SendError};

/// Chats remembered at most.
const CHATS: usize = 10_000;

/// What is remembered of one account.
#[derive(Default)]
pub(in super::super) struct Memory {
    /// The chat that was told to wait, and until when.
    limited: Mutex<Option<(Address, Instant)>>,
    /// Persons who see a keyboard of ours.
    keyboards: Mutex<HashMap<i64, Keyboard>>,
}

/// A keyboard in the place of a person's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keyboard {
    Shown,
    /// The person has written since: it can go.
    Answered,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// A second chat that is told to wait while the first still waits means that the bot is too fast.
    pub(super) fn limit(
        &self,
        to: &Address,
        retry_after: Option<Duration>,
        scope: Scope,
    ) -> SendError {
        let now = Instant::now();
        let until = now + retry_after.unwrap_or(Duration::from_secs(1));
        let mut limited = lock(&self.limited);
        let (another, longest) = match limited.as_ref() {
            Some((chat, other)) if *other > now => (chat != to, *other),
            Some(_) | None => (false, now),
        };
        // The one that waits longest stands for all of them.
        if until > longest {
            *limited = Some((to.clone(), until));
        }
        let scope = if another { Scope::Account } else { scope };
        SendError::RateLimited { retry_after, scope }
    }

    /// A person has got a keyboard.
    pub(super) fn shown(&self, chat: i64) {
        let mut keyboards = lock(&self.keyboards);
        if keyboards.len() >= CHATS {
            keyboards.clear();
        }
        keyboards.insert(chat, Keyboard::Shown);
    }

    /// A person has written.
    pub(in super::super) fn wrote(&self, chat: i64) {
        if let Some(keyboard) = lock(&self.keyboards).get_mut(&chat) {
            *keyboard = Keyboard::Answered;
        }
    }

    /// Whether the person still has a keyboard that was answered.
    pub(super) fn is_answered(&self, chat: i64) -> bool {
        lock(&self.keyboards).get(&chat) == Some(&Keyboard::Answered)
    }

    /// The person's own keyboard is back.
    pub(super) fn removed(&self, chat: i64) {
        lock(&self.keyboards).remove(&chat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_waits_when_a_second_chat_is_limited_within_the_time() {
        let memory = Memory::default();
        let limit = |chat: &str, seconds: u64| {
            let wait = Some(Duration::from_secs(seconds));
            match memory.limit(&Address::from(chat), wait, Scope::Recipient) {
                SendError::RateLimited { retry_after, scope } => {
                    assert_eq!(retry_after, wait, "as told");
                    scope
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(limit("-100", 2282), Scope::Recipient);
        assert_eq!(limit("-100", 2282), Scope::Recipient, "the same chat");
        for chat in ["7", "8"] {
            assert_eq!(limit(chat, 0), Scope::Account, "{chat}");
        }
        let quiet = Memory::default();
        let limit =
            |chat: &str| quiet.limit(&Address::from(chat), Some(Duration::ZERO), Scope::Recipient);
        limit("7");
        let SendError::RateLimited { scope, .. } = limit("8") else {
            panic!("not limited");
        };
        assert_eq!(scope, Scope::Recipient, "the first one is over");
    }
}
