//! From parts and actions to calls: what to call is planned purely, the rest is thin.

mod act;
mod choices;
mod memory;
mod plan;
mod send;

pub(super) use act::{act, calls_for};
pub(super) use choices::DATA_BYTES;
pub(super) use memory::Memory;
use plan::{FileKind, Request};
pub(super) use send::{Limits, Sender};
#[cfg(test)]
pub(super) use {plan::to_edit, send::Draft};

use crate::SendError;

fn rejected(code: &str, reason: impl Into<String>) -> SendError {
    SendError::Rejected {
        code: code.to_owned(),
        reason: reason.into(),
    }
}
