//! `tributary dead`: dead letters, listed, shown and put back.

mod requeue;

use anyhow::Result;
use tributary_bus::{DeadId, DeadLetter, Envelope};
use tributary_config::Settings;

use super::{tail::hide_content, visit_bus};
use crate::cli::Dead;

/// The most letters one command looks through.
const MOST: usize = 10_000;

/// Runs one of the subcommands.
///
/// # Errors
/// The bus cannot be reached, or a letter is not there.
pub async fn dead(settings: &Settings, command: &Dead) -> Result<()> {
    let bus = visit_bus(settings).await?;
    let result = match command {
        Dead::List { limit } => {
            let letters = bus.dead((*limit).min(MOST)).await?;
            list(&letters);
            Ok(())
        }
        Dead::Show { id, content } => {
            let letters = bus.dead(MOST).await?;
            match letters.iter().find(|letter| letter.id == DeadId(*id)) {
                Some(letter) => show(letter, *content),
                None => Err(anyhow::anyhow!(
                    "there is no dead letter {id}; see `tributary dead list`"
                )),
            }
        }
        Dead::Requeue { ids, all, yes } => {
            let letters = bus.dead(MOST).await?;
            let chosen = |letter: &DeadLetter| *all || ids.contains(&letter.id.0);
            let chosen: Vec<DeadLetter> = letters.into_iter().filter(chosen).collect();
            for id in ids
                .iter()
                .filter(|id| !chosen.iter().any(|l| l.id.0 == **id))
            {
                eprintln!("there is no dead letter {id}");
            }
            let wanted = if *all { chosen.len() } else { ids.len() };
            requeue::requeue(settings, bus.as_ref(), chosen, wanted, *yes).await
        }
    };
    bus.close().await;
    result
}

fn list(letters: &[DeadLetter]) {
    if letters.is_empty() {
        println!("no dead letters");
        return;
    }
    println!(
        "{:<36}  {:<20}  {:<28}  {:<26}  REASON",
        "ID", "AT (UTC)", "LANE", "TYPE"
    );
    for letter in letters {
        let kind =
            Envelope::parse(&letter.body).map_or_else(|_| "not an envelope".to_owned(), |e| e.kind);
        let at = letter.at.format("%Y-%m-%d %H:%M:%S");
        println!(
            "{}  {at:<20}  {:<28}  {kind:<26}  {}",
            letter.id.0,
            letter.lane.to_string(),
            letter.reason
        );
    }
}

fn show(letter: &DeadLetter, content: bool) -> Result<()> {
    println!("id      {}", letter.id.0);
    println!("lane    {}", letter.lane);
    println!("at      {}", letter.at.to_rfc3339());
    println!("reason  {}", letter.reason);
    println!("size    {} bytes\n", letter.body.len());
    match serde_json::from_slice::<serde_json::Value>(&letter.body) {
        Ok(mut value) => {
            if !content {
                hide_content(&mut value);
            }
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Err(_) if content => println!("{}", String::from_utf8_lossy(&letter.body)),
        Err(_) => println!("not JSON; use --content to see it"),
    }
    Ok(())
}
