//! Putting dead letters back, in the order of their lanes. A delivery that would arrive after later messages of its conversation
//! asks first.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use tributary_bus::{Bus, DeadLetter, Lane, message::Undelivered};
use tributary_config::Settings;
use tributary_router::store::{Store, StoreError};

/// Puts the letters back; `wanted` is how many were asked for.
///
/// # Errors
/// Not all of them were put back.
pub async fn requeue(
    settings: &Settings,
    bus: &dyn Bus,
    letters: Vec<DeadLetter>,
    wanted: usize,
    yes: bool,
) -> Result<()> {
    let deliveries = letters
        .iter()
        .any(|letter| matches!(letter.lane, Lane::Delivery(_)));
    let store = match deliveries {
        true => Some(open(settings).await?),
        false => None,
    };
    let mut done = 0;
    for letter in letters {
        let id = letter.id.0;
        if let Some(store) = &store
            && let Some(sending) = sending(&letter)
        {
            let overtaken_by = store
                .sent_after(&sending.organization, sending.message_id)
                .await?;
            if overtaken_by > 0 && !is_wanted(&letter, &sending, overtaken_by, yes)? {
                eprintln!("{id} stays among the dead letters");
                continue;
            }
            // First, so that what the channel reports counts. A message that is gone is the connector's to judge.
            match store
                .requeue_message(&sending.organization, sending.message_id)
                .await
            {
                Ok(()) | Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if bus.replay(letter.id).await? {
            done += 1;
            println!(
                "{id} is back in the lane {}, behind what waits there",
                letter.lane
            );
        } else {
            eprintln!("there is no dead letter {id}");
        }
    }
    println!("{done} of {wanted} requeued");
    anyhow::ensure!(
        done == wanted,
        "{} not requeued; see `tributary dead list`",
        wanted - done
    );
    Ok(())
}

async fn open(settings: &Settings) -> Result<Store> {
    let store = Store::open(settings)
        .await
        .context("store; check store.url and that the server runs")?;
    anyhow::ensure!(
        store.pending().await? == 0,
        "the schema is not up to date; run `tributary migrate` first"
    );
    Ok(store)
}

/// The message that a letter was to send.
fn sending(letter: &DeadLetter) -> Option<Undelivered> {
    Undelivered::read(&letter.body).filter(|delivery| delivery.change.is_none())
}

fn is_wanted(
    letter: &DeadLetter,
    sending: &Undelivered,
    overtaken_by: i64,
    yes: bool,
) -> Result<bool> {
    eprintln!(
        "{}: {overtaken_by} later message(s) of its conversation left before message {}; it would \
         arrive after them",
        letter.id.0, sending.message_id
    );
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("use --yes to send it all the same");
        return Ok(false);
    }
    eprint!("send it all the same? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
