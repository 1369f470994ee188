//! What the visitor says, chooses and is about to say.

use std::time::Duration;

use chrono::{SubsecRound, Utc};
use serde_json::Map;
use tokio::time::{Instant, timeout};
use tracing::debug;
use tributary_base::text::is_blank;
use tributary_bus::message::{ChoiceReply, Content, Profile};

use super::{
    super::{
        body::Body,
        hub::Call,
        inbound::{
            Answered, Spoken, Written, to_attribution, to_event, to_text, to_typing,
            valid_client_id,
        },
        mailbox::{Before, Draft, Kept, Letter, MailboxError, Pressed},
        names::Name,
        uploads::to_content,
        wire::{Code, Message, Press, Reply, Said},
    },
    End, Session, UNAVAILABLE_WAIT, within,
};
use crate::refusals::reason;

/// Between two reports that a visitor writes.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// For such a report; one that does not get through is left out.
const TYPING_DEADLINE: Duration = Duration::from_secs(1);

/// Digits of a second that both databases keep: an ack says the same when it is given again.
const STORED_DIGITS: u16 = 6;

/// Why something was not taken in.
enum Refusal {
    /// For good.
    Code(Code),
    /// For now; what is in the way.
    Later(String),
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl From<MailboxError> for Refusal {
    fn from(error: MailboxError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Session<'_> {
    /// A message of the visitor.
    pub(super) async fn receive(&mut self, message: Message, raw: String) -> Result<(), End> {
        let client_id = message.client_id.clone();
        if let Some(page) = &message.page {
            self.writer.attribution = to_attribution(page);
        }
        match self.understand(message, raw).await {
            Ok(spoken) => self.publish(spoken).await,
            Err(refusal) => self.refuse(client_id, refusal).await,
        }
    }

    async fn understand(&mut self, message: Message, raw: String) -> Result<Spoken, Refusal> {
        if !valid_client_id(&message.client_id) {
            return Err(Code::BadMessage.into());
        }
        let (content, body) = match &message.body {
            Said::Text { text } => to_text(text, self.widget.rules.text_limit)?,
            Said::Upload { upload, caption } => {
                let caption = match caption.as_deref().filter(|words| !is_blank(words)) {
                    Some(words) => {
                        to_text(words, self.widget.rules.text_limit)?;
                        Some(words.to_owned())
                    }
                    None => None,
                };
                let claimed = self.widget.claimed(self.writer.visitor, upload);
                let file = within(claimed).await?.ok_or(Code::BadUpload)?;
                to_content(file, caption)
            }
            Said::Unknown => return Err(Code::BadMessage.into()),
        };
        let answers = match message.reply_to {
            Some(place) => {
                let letter = self.letter(place).await?.ok_or(Code::BadMessage)?;
                Some(self.answered(&letter))
            }
            None => None,
        };
        Ok(Spoken {
            client_id: message.client_id,
            content,
            body,
            answers,
            raw,
        })
    }

    /// The visitor presses a button: an answer, if the message offers it and was not answered before.
    pub(super) async fn pressed(&mut self, press: Press, raw: String) -> Result<(), End> {
        let client_id = press.client_id.clone();
        match self.choose(press, raw).await {
            Ok(spoken) => self.publish(spoken).await,
            Err(refusal) => self.refuse(client_id, refusal).await,
        }
    }

    async fn choose(&mut self, press: Press, raw: String) -> Result<Spoken, Refusal> {
        if !valid_client_id(&press.client_id) {
            return Err(Code::BadMessage.into());
        }
        let letter = self.letter(press.seq).await?.ok_or(Code::NotOffered)?;
        let offer = match letter.client_id {
            None => Body::from_json(&letter.body),
            Some(_) => return Err(Code::NotOffered.into()),
        };
        let title = offer.offered(&press.button).ok_or(Code::NotOffered)?;
        // First here, so that of two tabs only one comes further; a repetition of that one does too.
        let pressing = self.mailbox.press(
            self.writer.visitor,
            press.seq,
            &press.button,
            &press.client_id,
        );
        match within(pressing).await? {
            Pressed::Now(changes) => {
                let call = Call {
                    changes,
                    ..Call::default()
                };
                self.announce(call).await;
            }
            Pressed::Already => {}
            Pressed::Late => return Err(Code::AlreadyPressed.into()),
        }
        let reply = ChoiceReply {
            id: press.button.clone(),
            title: Some(title.to_owned()),
            extra: Map::new(),
        };
        Ok(Spoken {
            client_id: press.client_id,
            content: Content::ChoiceReply(reply),
            body: Body::ChoiceReply {
                title: title.to_owned(),
                id: press.button,
            },
            answers: Some(self.answered(&letter)),
            raw,
        })
    }

    async fn letter(&mut self, place: i64) -> Result<Option<Letter>, MailboxError> {
        within(self.mailbox.letter(self.writer.visitor, place)).await
    }

    fn answered(&self, letter: &Letter) -> Answered {
        Answered {
            place: letter.seq,
            provider_id: Name::of(letter).write(self.writer.visitor),
        }
    }

    /// On the bus, then in the mailbox, then acknowledged.
    async fn publish(&mut self, spoken: Spoken) -> Result<(), End> {
        let client_id = spoken.client_id.clone();
        if let Err(wait) = self.widget.limits.message(self.writer.visitor, self.peer) {
            return self.flooded(reason::MESSAGES, Some(client_id), wait).await;
        }
        self.strikes = self.strikes.saturating_sub(1);
        let Written { event, draft } = to_event(
            spoken,
            &self.writer,
            Utc::now().trunc_subsecs(STORED_DIGITS),
        );
        let taken = async {
            self.inbound.ready().map_err(|error| error.to_string())?;
            if !self.opened {
                // First, so that a quick answer finds a mailbox.
                self.open().await.map_err(|error| error.to_string())?;
            }
            (self.inbound.publish(vec![event]).await).map_err(|error| error.to_string())?;
            (self.keep(&draft).await).map_err(|error| error.to_string())
        };
        let kept = match taken.await {
            Ok(kept) => kept,
            Err(reason) => return self.refuse(client_id, Refusal::Later(reason)).await,
        };
        self.opened = true;
        // Said once a connection.
        self.writer.profile = Profile::default();
        self.writer.told = self.writer.attribution.clone();
        self.acknowledge(client_id, &draft, kept).await
    }

    async fn refuse(&mut self, client_id: String, refusal: Refusal) -> Result<(), End> {
        match refusal {
            Refusal::Code(code) => self.complain(code, Some(client_id), None).await,
            Refusal::Later(reason) => {
                debug!(channel_id = %self.writer.channel, reason, "a visitor's message waits");
                self.complain(Code::Unavailable, Some(client_id), Some(UNAVAILABLE_WAIT))
                    .await
            }
        }
    }

    async fn open(&mut self) -> Result<(), MailboxError> {
        within(self.mailbox.open(self.writer.visitor)).await
    }

    async fn keep(&mut self, draft: &Draft) -> Result<Kept, MailboxError> {
        // A transaction takes much room while it waits.
        within(Box::pin(self.mailbox.keep(self.writer.visitor, draft))).await
    }

    async fn acknowledge(
        &mut self,
        client_id: String,
        draft: &Draft,
        kept: Kept,
    ) -> Result<(), End> {
        if kept.before == Before::Different {
            return self.complain(Code::Duplicate, Some(client_id), None).await;
        }
        let ack = Reply::Ack {
            client_id,
            id: draft.message_id.to_string(),
            seq: kept.seq,
            at: kept.at,
        };
        self.socket.send(ack.to_text()).await?;
        if kept.seq == self.cursor + 1 {
            self.cursor = kept.seq;
        }
        if kept.before == Before::Absent {
            let call = Call {
                seq: kept.seq,
                ..Call::default()
            };
            self.announce(call).await;
        }
        Ok(())
    }

    /// The visitor writes. Told to who has a conversation already, and not each time.
    pub(super) async fn typing(&mut self, on: bool) -> Result<(), End> {
        let now = Instant::now();
        let lately = (self.typed).is_some_and(|typed| now.duration_since(typed) < TYPING_EVERY);
        if !on || lately || !self.opened || self.inbound.ready().is_err() {
            return Ok(());
        }
        self.typed = Some(now);
        let event = to_typing(&self.writer.channel, self.writer.visitor, Utc::now());
        if !matches!(
            timeout(TYPING_DEADLINE, self.inbound.publish(vec![event])).await,
            Ok(Ok(()))
        ) {
            debug!(channel_id = %self.writer.channel, "that a visitor writes was not told");
        }
        Ok(())
    }
}
