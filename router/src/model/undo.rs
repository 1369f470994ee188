//! Taking back changes of messages that the channel refuses.
//!
//! A change asked for through the API is recorded at once, since channels report refusals and nothing else. What was there
//! before is kept until then.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tributary_bus::message::{Content, MessageChange, MessageView};

use super::{Message, clock::is_later};

/// Changes that are remembered, at most; channels settle one long before as many follow.
const REMEMBERED: usize = 8;

/// What to put back when the channel refuses a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Undo {
    /// The place of the delivery that carries the change.
    pub seq: i64,
    #[serde(flatten)]
    pub before: Before,
}

/// What was there before a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Before {
    Edit {
        content: Box<Content>,
        edited_at: Option<DateTime<Utc>>,
    },
    Delete {
        #[serde(default)]
        deleted_at: Option<DateTime<Utc>>,
    },
    /// Our reactions.
    React { reactions: Vec<String> },
}

impl Before {
    fn change(&self) -> MessageChange {
        match self {
            Self::Edit { .. } => MessageChange::Edit,
            Self::Delete { .. } => MessageChange::Delete,
            Self::React { .. } => MessageChange::React,
        }
    }

    fn put_back(self, view: &mut MessageView) {
        match self {
            Self::Edit { content, edited_at } => {
                view.content = *content;
                view.edited_at = edited_at;
            }
            Self::Delete { deleted_at } => view.deleted_at = deleted_at,
            Self::React { reactions } => view.our_reactions = reactions,
        }
    }
}

impl Message {
    /// Remembers what was there before the change at a place.
    pub fn remember(&mut self, seq: i64, before: Before) {
        if self.undo.len() == REMEMBERED {
            self.undo.remove(0);
        }
        self.undo.push(Undo { seq, before });
    }

    /// The message has this content in the channel since `at`, whatever becomes of our edits
    /// before: a refusal of one of them puts this back. `false`: an edit of ours is later, and
    /// stands.
    pub fn edited_in_channel(&mut self, content: Content, at: DateTime<Utc>) -> bool {
        for undo in &mut self.undo {
            if let Before::Edit {
                content: before,
                edited_at,
            } = &mut undo.before
                && !is_later(*edited_at, at)
            {
                **before = content.clone();
                *edited_at = Some(at);
            }
        }
        let is_latest = !is_later(self.view.edited_at, at);
        if is_latest {
            self.view.content = content;
            self.view.edited_at = Some(at);
        }
        is_latest
    }

    /// The channel has the message no more, whatever becomes of a deletion of ours.
    pub fn deleted_in_channel(&mut self, at: DateTime<Utc>) {
        for undo in &mut self.undo {
            if let Before::Delete { deleted_at } = &mut undo.before {
                *deleted_at = Some(at);
            }
        }
        self.view.deleted_at = self.view.deleted_at.or(Some(at));
    }

    /// Takes back the change at a place (or the latest of its kind). `false`: no such change is remembered.
    pub fn take_back(&mut self, change: MessageChange, seq: Option<i64>) -> bool {
        let refused = self.undo.iter().rposition(|undo| {
            undo.before.change() == change && seq.is_none_or(|seq| seq == undo.seq)
        });
        let Some(refused) = refused else {
            return false;
        };
        let Undo { before, .. } = self.undo.remove(refused);
        let mut later = self.undo.iter_mut().skip(refused);
        match later.find(|undo| undo.before.change() == change) {
            // A later change stands: what it replaced is now what was there before this one.
            Some(next) => next.before = before,
            None => before.put_back(&mut self.view),
        }
        true
    }
}
