//! `delivery.edit`, `delivery.delete` and `delivery.react`: what is in the channel is changed. One that is refused for
//! good is told.
//!
//! Repeating a change does no harm, so the ledger is asked for one thing only: whether a try may have arrived that did
//! not say so. Then a change that fails in the end is uncertain: it must not be taken back where it was recorded.

use std::time::Duration;

use chrono::SubsecRound;
use tributary_bus::{
    Address, Lease, MessageId, Outcome, Work,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, Failure, FailureCode, MessageChange,
        Priority,
    },
};

use super::{
    Act, DeliveryHandler, OfChannel, fresh,
    outcome::{Call, Hold, Verdict},
    pause,
    report::Refused,
};
use crate::{
    Action, Support,
    ledger::{Begun, Ending, OnUnknown, PartKey, Row, Target, Try},
    media::describe_all,
    render::render,
};

type Planned = Result<Vec<Action>, Failure>;

/// Why a change failed.
struct Failed {
    failure: Failure,
    /// It may be there all the same, or a part of it.
    doubtful: bool,
}

/// A delivery that changes one message.
pub(super) trait Change: OfChannel {
    const KIND: MessageChange;

    /// The message, who has it, and `seq` of the delivery.
    fn about(&self) -> (MessageId, &Address, i64);

    /// What the connector is asked to do, one after the other; `Ok(Err(_))` when that cannot be.
    async fn actions(&self, handler: &DeliveryHandler) -> Result<Planned, Outcome>;
}

impl Change for DeliveryEdit {
    const KIND: MessageChange = MessageChange::Edit;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn actions(&self, handler: &DeliveryHandler) -> Result<Planned, Outcome> {
        let ids = handler.provider_ids(self.message_id, &self.provider_ids);
        let ids = match ids.await? {
            Ok(ids) => ids,
            Err(failure) => return Ok(Err(failure)),
        };
        let access = &*handler.account.media.access;
        let content = describe_all(access, self.content.clone(), handler.send_deadline).await;
        Ok(handler.edit_actions(&content, ids))
    }
}

impl Change for DeliveryDelete {
    const KIND: MessageChange = MessageChange::Delete;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn actions(&self, handler: &DeliveryHandler) -> Result<Planned, Outcome> {
        let ids = handler.provider_ids(self.message_id, &self.provider_ids);
        let support = handler.account.connector.capabilities().delete;
        Ok(ids.await?.and_then(|provider_ids| {
            supported(support, "take messages back")?;
            Ok(vec![Action::Delete { provider_ids }])
        }))
    }
}

impl Change for DeliveryReact {
    const KIND: MessageChange = MessageChange::React;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn actions(&self, handler: &DeliveryHandler) -> Result<Planned, Outcome> {
        let support = handler.account.connector.capabilities().react;
        let can = supported(support, "react to messages");
        let action = || Action::React {
            provider_id: self.provider_id.clone(),
            reactions: self.reactions.clone(),
        };
        Ok(can.map(|()| vec![action()]))
    }
}

impl DeliveryHandler {
    /// Carries a change out, or tells why not.
    pub(super) async fn change<D: Change>(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: D = self.read(&work.envelope)?;
        let certain = |failure| Failed {
            failure,
            doubtful: false,
        };
        let result = match (delivery.actions(self).await?, act) {
            (Err(failure), _) => Err(certain(failure)),
            (Ok(_), Act::GiveUp(reason)) => Err(self.given_up(work, reason).await?),
            (Ok(actions), Act::Go) => self.carry_out(&delivery, &actions, work, lease).await?,
        };
        let Err(failed) = result else {
            return Ok(());
        };
        let (message_id, to, seq) = delivery.about();
        let refused = Refused {
            channel: self.account.sink.channel(),
            to,
            message_id,
            change: D::KIND,
            seq,
            asked_at: work.envelope.time.trunc_subsecs(3),
            failure: failed.failure,
            doubtful: failed.doubtful,
        };
        self.publish(refused.events(), lease).await
    }

    /// Too late or too often.
    async fn given_up(&self, work: &Work, reason: &str) -> Result<Failed, Outcome> {
        let rows = self
            .ledger
            .parts(&self.organization(), MessageId(work.envelope.id.0))
            .await
            .map_err(|error| pause(error.to_string()))?;
        Ok(Failed {
            failure: Failure {
                code: FailureCode::Expired,
                reason: reason.to_owned(),
            },
            doubtful: rows.iter().any(Row::is_in_doubt),
        })
    }

    /// Makes the calls; `Ok(Err(_))` is for good.
    async fn carry_out<D: Change>(
        &self,
        delivery: &D,
        actions: &[Action],
        work: &Work,
        lease: &Lease,
    ) -> Result<Result<(), Failed>, Outcome> {
        let (message_id, _, _) = delivery.about();
        for (number, action) in (0..).zip(actions) {
            let result = self.step(delivery, (number, action), work, lease).await?;
            if let Err(mut failed) = result {
                // The steps before it stand.
                failed.doubtful |= number > 0;
                return Ok(Err(failed));
            }
        }
        if let [Action::Edit { .. }, Action::Delete { provider_ids }] = actions {
            let organization = self.organization();
            let gone = self
                .ledger
                .take_back(&organization, message_id, provider_ids);
            gone.await.map_err(|error| pause(error.to_string()))?;
        }
        Ok(Ok(()))
    }

    /// Makes one call, noted in the ledger as a part of the change.
    async fn step<D: Change>(
        &self,
        delivery: &D,
        (number, action): (u32, &Action),
        work: &Work,
        lease: &Lease,
    ) -> Result<Result<(), Failed>, Outcome> {
        let (message_id, to, seq) = delivery.about();
        let ticket = self.admitted(to).await?;
        let pace = self.account.connector.pace();
        let turn = self.turns.take(pace, to, Priority::Reply, work.attempt);
        let _turn = turn.await?;
        fresh(lease)?;
        let tried = self.begin_step(delivery, number, work).await?;
        fresh(lease)?;
        let key = match number {
            0 => work.envelope.id.to_string(),
            _ => format!("{}-{number}", work.envelope.id),
        };
        let context = self.context(message_id, to, seq, key);
        let call = self.account.connector.act(action, &context);
        // It may be repeated, so nothing about it is left to a person.
        let verdict = match self.call(ticket, to, (Call::Change, Hold::No), call).await {
            Ok(()) => return Ok(Ok(())),
            Err(verdict) => verdict,
        };
        let ending = match &verdict {
            Verdict::Failed(_) => Ending::Waiting,
            Verdict::Again { ending, .. } => ending.clone(),
        };
        self.note_ending(&tried, ending, lease).await?;
        match verdict {
            Verdict::Failed(failure) => Ok(Err(Failed {
                failure,
                doubtful: tried.doubtful,
            })),
            Verdict::Again { outcome, .. } => Err(outcome),
        }
    }

    async fn begin_step<D: Change>(
        &self,
        delivery: &D,
        number: u32,
        work: &Work,
    ) -> Result<Try, Outcome> {
        let (_, to, _) = delivery.about();
        let key = PartKey {
            organization: self.organization(),
            message_id: MessageId(work.envelope.id.0),
            part: number,
        };
        let target = Target {
            channel_id: delivery.channel().clone(),
            to: to.clone(),
            parts: 1,
        };
        let begun = self.ledger.begin(key, target, OnUnknown::Repeat).await;
        match begun.map_err(|error| pause(error.to_string()))? {
            Begun::Go(tried) => Ok(tried),
            Begun::Settled(_) | Begun::Busy(_) => Err(Outcome::Defer {
                after: Duration::from_millis(200),
                reason: "another worker notes this change".to_owned(),
            }),
        }
    }

    /// The ids of a message's parts, without those that were taken back: as the delivery names them, else as the ledger
    /// knows them.
    async fn provider_ids(
        &self,
        message_id: MessageId,
        named: &[String],
    ) -> Result<Result<Vec<String>, Failure>, Outcome> {
        let rows = self
            .ledger
            .parts(&self.organization(), message_id)
            .await
            .map_err(|error| pause(error.to_string()))?;
        let is_gone = |id: &str| {
            let mut gone = rows.iter().filter(|row| row.is_gone());
            gone.any(|row| row.provider_id() == Some(id))
        };
        if !named.is_empty() {
            let there = named.iter().filter(|id| !is_gone(id));
            return Ok(Ok(there.cloned().collect()));
        }
        let sent: Vec<&str> = rows.iter().filter_map(Row::provider_id).collect();
        if sent.is_empty() || sent.len() != rows.len() {
            return Ok(Err(rejected("the message was not sent".to_owned())));
        }
        let there = sent.into_iter().filter(|id| !is_gone(id));
        Ok(Ok(there.map(str::to_owned).collect()))
    }

    /// Fewer parts than there are messages in the channel: the rest is taken back. More is not possible: a message cannot
    /// be put between others that came later.
    fn edit_actions(&self, content: &Content, mut ids: Vec<String>) -> Planned {
        let capabilities = self.account.connector.capabilities();
        supported(capabilities.edit, "edit messages")?;
        let rendered = render(content, capabilities)?;
        let parts = rendered.parts.len();
        if parts > ids.len() {
            return Err(rejected(format!(
                "the new content takes {parts} messages in this channel, the old one was sent in {}; shorten it, or \
                 send the rest as a new message",
                ids.len()
            )));
        }
        let rest = ids.split_off(parts);
        let mut actions = vec![Action::Edit {
            parts: ids.into_iter().zip(rendered.parts).collect(),
        }];
        if !rest.is_empty() {
            supported(capabilities.delete, "take back what an edit leaves over")?;
            actions.push(Action::Delete { provider_ids: rest });
        }
        Ok(actions)
    }
}

fn supported(support: Support, what: &str) -> Result<(), Failure> {
    match support {
        Support::Yes => Ok(()),
        Support::No => Err(rejected(format!("this channel cannot {what}"))),
    }
}

fn rejected(reason: String) -> Failure {
    Failure {
        code: FailureCode::Rejected,
        reason,
    }
}
