//! Answers that are typed: where choices went as a numbered list, a number or a title counts as the choice; where they
//! went as keys that write their title (quick replies), a title does.
//!
//! A conversation has at most one open question. An answer closes it, the next question takes its place, and it is
//! forgotten after [`OPEN_FOR`]; whatever else is typed leaves it open.

use chrono::TimeDelta;
use serde_json::Value;
use tributary_bus::message::{Choice, Content, DegradationCode, Status};

use super::steps::Decision;
use crate::model::{Message, Question};

/// How long a question can be answered by typing.
const OPEN_FOR: TimeDelta = TimeDelta::hours(24);

impl Decision<'_> {
    /// Gives a choice that came by its id alone the title that it was offered with.
    pub fn name_choice(&self, message: &mut Message) {
        let Content::ChoiceReply(reply) = &mut message.view.content else {
            return;
        };
        let offered = message.view.reply_to;
        let offered = offered.and_then(|id| self.snapshot.messages.get(&id));
        if let (None, Some(offered)) = (&reply.title, offered) {
            reply.title = title(&offered.value.view.content, &reply.id);
        }
    }

    /// Makes a typed answer the choice that it means, and closes a question that was answered.
    pub fn take_answer(&mut self, message: &mut Message) {
        let conversation = message.view.conversation_id;
        let Some(entry) = self.snapshot.conversations.get_mut(&conversation) else {
            return;
        };
        let Some(question) = entry.value.question else {
            return;
        };
        let answers = |message: &Message| message.view.reply_to == Some(question.message);
        let closed = match &message.view.content {
            Content::ChoiceReply(_) => answers(message),
            // Said about another message, it is no answer to this question.
            Content::Text(text) if message.reply_to.is_none() || answers(message) => {
                let typed = text.text.clone();
                let asked = self.snapshot.messages.get(&question.message);
                let in_time = self.now - question.asked_at <= OPEN_FOR;
                match asked
                    .filter(|_| in_time)
                    .and_then(|asked| choice(&asked.value, typed))
                {
                    Some(reply) => {
                        message.view.content = reply;
                        message.view.reply_to = Some(question.message);
                        true
                    }
                    None => false,
                }
            }
            Content::Text(_)
            | Content::Image(_)
            | Content::Video(_)
            | Content::Audio(_)
            | Content::Voice(_)
            | Content::File(_)
            | Content::Sticker(_)
            | Content::Location(_)
            | Content::ContactCard(_)
            | Content::Choices(_)
            | Content::Carousel(_)
            | Content::Template(_)
            | Content::Email(_)
            | Content::Unsupported(_)
            | Content::Other(_) => false,
        };
        if closed {
            entry.edit().question = None;
        }
    }

    /// Opens the question that a message of ours [`asks`]; unless a later one is open.
    pub fn ask(&mut self, message: &Message) {
        if !asks(message) {
            return;
        }
        let conversation = message.view.conversation_id;
        let Some(entry) = self.snapshot.conversations.get(&conversation) else {
            return;
        };
        let open = entry.value.question.map(|question| question.message);
        let open = open.and_then(|id| self.snapshot.messages.get(&id));
        if open.is_some_and(|open| open.value.view.seq > message.view.seq) {
            return;
        }
        if let Some(entry) = self.snapshot.conversations.get_mut(&conversation) {
            entry.edit().question = Some(Question {
                message: message.view.id,
                asked_at: self.now,
            });
        }
    }
}

/// Whether a message of ours is there and asks for what can be answered by typing.
pub(super) fn asks(message: &Message) -> bool {
    let sent = match message.view.status {
        Status::Sent | Status::Delivered | Status::Read => true,
        Status::Received | Status::Queued | Status::Failed | Status::Expired => false,
    };
    match &message.view.content {
        Content::Choices(choices) => sent && (numbered(message) || choices.may_be_typed()),
        _ => false,
    }
}

/// The title of the choice with this id.
fn title(content: &Content, id: &str) -> Option<String> {
    let options: Vec<&Choice> = match content {
        Content::Choices(choices) => choices.options.iter().collect(),
        Content::Carousel(carousel) => {
            let cards = carousel.cards.iter();
            cards.flat_map(|card| &card.options).collect()
        }
        _ => Vec::new(),
    };
    let chosen = options.into_iter().find(|option| option.id == id)?;
    Some(chosen.title.clone())
}

/// The choices went as a numbered list.
fn numbered(message: &Message) -> bool {
    let mut degraded = message.view.degraded.iter();
    degraded.any(|one| one.code == DegradationCode::ChoicesNumbered)
}

fn choice(asked: &Message, typed: String) -> Option<Content> {
    let Content::Choices(choices) = &asked.view.content else {
        return None;
    };
    if asked.view.deleted_at.is_some() {
        return None;
    }
    let mut reply = if numbered(asked) {
        choices.answer(&typed)?
    } else {
        choices.answer_by_title(&typed)?
    };
    reply.extra.insert("typed".to_owned(), Value::String(typed));
    Some(Content::ChoiceReply(reply))
}
