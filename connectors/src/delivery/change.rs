//! `delivery.edit`, `delivery.delete` and `delivery.react`: what is in the channel is changed. Repeating one does no
//! harm, so the ledger keeps nothing of them; one that is refused for good is told.

use chrono::SubsecRound;
use tributary_bus::{
    Address, Lease, MessageId, Outcome, Work,
    message::{
        DeliveryDelete, DeliveryEdit, DeliveryReact, Failure, FailureCode, MessageChange, Priority,
    },
};

use super::{
    Act, DeliveryHandler, fresh,
    outcome::{Hold, Verdict},
    pause,
    report::Refused,
};
use crate::{Action, Support, render::render};

/// A change of one message.
struct Change<'a> {
    work: &'a Work,
    act: Act<'a>,
    lease: &'a Lease,
    message_id: MessageId,
    to: &'a Address,
    seq: i64,
    kind: MessageChange,
}

impl DeliveryHandler {
    pub(super) async fn edit(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryEdit = self.read(&work.envelope)?;
        let change = Change {
            work,
            act,
            lease,
            message_id: delivery.message_id,
            to: &delivery.to,
            seq: delivery.seq,
            kind: MessageChange::Edit,
        };
        let ids = self
            .provider_ids(&change, delivery.provider_ids.clone())
            .await?;
        let action = ids.and_then(|ids| self.edit_action(&delivery, ids));
        self.carry_out(change, action).await
    }

    /// As many parts as there are messages in the channel, or nothing.
    fn edit_action(&self, delivery: &DeliveryEdit, ids: Vec<String>) -> Result<Action, Failure> {
        let capabilities = self.account.connector.capabilities();
        supported(capabilities.edit, "edit messages")?;
        let rendered = render(&delivery.content, capabilities)?;
        if rendered.parts.len() != ids.len() {
            return Err(rejected(format!(
                "the new content takes {} messages in this channel, the old one was sent in {}",
                rendered.parts.len(),
                ids.len()
            )));
        }
        let parts = ids.into_iter().zip(rendered.parts).collect();
        Ok(Action::Edit { parts })
    }

    pub(super) async fn delete(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryDelete = self.read(&work.envelope)?;
        let change = Change {
            work,
            act,
            lease,
            message_id: delivery.message_id,
            to: &delivery.to,
            seq: delivery.seq,
            kind: MessageChange::Delete,
        };
        let ids = self
            .provider_ids(&change, delivery.provider_ids.clone())
            .await?;
        let action = ids.and_then(|provider_ids| {
            supported(
                self.account.connector.capabilities().delete,
                "take messages back",
            )?;
            Ok(Action::Delete { provider_ids })
        });
        self.carry_out(change, action).await
    }

    pub(super) async fn react(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryReact = self.read(&work.envelope)?;
        let change = Change {
            work,
            act,
            lease,
            message_id: delivery.message_id,
            to: &delivery.to,
            seq: delivery.seq,
            kind: MessageChange::React,
        };
        let can = supported(
            self.account.connector.capabilities().react,
            "react to messages",
        );
        let action = can.map(|()| Action::React {
            provider_id: delivery.provider_id.clone(),
            reactions: delivery.reactions.clone(),
        });
        self.carry_out(change, action).await
    }

    /// The ids of a message's parts: as the delivery names them, else as the ledger knows them.
    async fn provider_ids(
        &self,
        change: &Change<'_>,
        named: Vec<String>,
    ) -> Result<Result<Vec<String>, Failure>, Outcome> {
        if !named.is_empty() {
            return Ok(Ok(named));
        }
        let rows = self
            .ledger
            .parts(&self.organization(), change.message_id)
            .await
            .map_err(|error| pause(error.to_string()))?;
        let sent: Vec<String> = rows
            .iter()
            .filter_map(|row| row.provider_id().map(str::to_owned))
            .collect();
        if sent.is_empty() || sent.len() != rows.len() {
            return Ok(Err(rejected("the message was not sent".to_owned())));
        }
        Ok(Ok(sent))
    }

    async fn carry_out(
        &self,
        change: Change<'_>,
        action: Result<Action, Failure>,
    ) -> Result<(), Outcome> {
        let result = match (action, change.act) {
            (Err(failure), _) => Err(failure),
            (Ok(_), Act::GiveUp(reason)) => Err(Failure {
                code: FailureCode::Expired,
                reason: reason.to_owned(),
            }),
            (Ok(action), Act::Go) => self.change(&change, &action).await?,
        };
        let Err(failure) = result else {
            return Ok(());
        };
        let refused = Refused {
            channel: self.account.sink.channel(),
            to: change.to,
            message_id: change.message_id,
            change: change.kind,
            seq: change.seq,
            asked_at: change.work.envelope.time.trunc_subsecs(3),
            failure,
        };
        self.publish(refused.events(), change.lease).await
    }

    /// Makes the call; `Ok(Err(_))` is for good.
    async fn change(
        &self,
        change: &Change<'_>,
        action: &Action,
    ) -> Result<Result<(), Failure>, Outcome> {
        let (to, attempt) = (change.to, change.work.attempt);
        let pace = self.account.connector.pace();
        let _turn = self.turns.take(pace, to, Priority::Reply, attempt).await?;
        let ticket = self.admitted(to).await?;
        fresh(change.lease)?;
        let key = change.work.envelope.id.to_string();
        let context = self.context(change.message_id, to, change.seq, key);
        let call = self.account.connector.act(action, &context);
        // It may be repeated, so nothing about it is left to a person.
        match self.call(ticket, to, Hold::No, call).await {
            Ok(()) => Ok(Ok(())),
            Err(Verdict::Failed(failure)) => Ok(Err(failure)),
            Err(Verdict::Again { outcome, .. }) => Err(outcome),
        }
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
