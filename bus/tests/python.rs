//! The connector in Python of docs/channels, on RabbitMQ: it knows only the AsyncAPI document. Needs `TEST_AMQP_URL`.

#[allow(dead_code, reason = "written for the contract tests")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use support::{Test, declare, into_lane, own, soon, world::World};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};
use tributary_bus::{
    Address, Bus, ChannelId, Envelope, Group, Lane, MessageId, OrganizationId,
    message::{Content, DeliverySend, Inbound, Status},
};

const LANES: u16 = 4;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Connector {
    child: Child,
    input: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
    said: Lines<BufReader<ChildStderr>>,
}

impl Connector {
    fn start(python: &Path, url: &str, prefix: &str) -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/channels/connector.py");
        let mut child = Command::new(python)
            .arg(program)
            .args(["acme", "terminal"])
            .env("AMQP_URL", url)
            .env("BUS_PREFIX", prefix)
            .env("INBOUND_LANES", LANES.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            input: child.stdin.take().ok_or("a standard input")?,
            printed: BufReader::new(child.stdout.take().ok_or("a standard output")?).lines(),
            said: BufReader::new(child.stderr.take().ok_or("a standard error")?).lines(),
            child,
        })
    }

    async fn prints(&mut self) -> Result<String> {
        let line = soon("the connector prints", self.printed.next_line()).await?;
        match line {
            Some(line) => Ok(line),
            None => {
                let mut words = Vec::new();
                while let Some(line) = self.said.next_line().await? {
                    words.push(line);
                }
                Err(format!("the connector ended: {}", words.join("\n")).into())
            }
        }
    }
}

/// A virtual environment with the client that the connector uses.
async fn python(folder: &Path) -> Result<PathBuf> {
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign/install");
    let installed = Command::new(install).arg("python").arg(folder).output();
    let installed = installed.await?;
    let reason = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "{reason}");
    Ok(folder.join("bin/python"))
}

fn delivery(text: &str, seq: i64) -> Envelope {
    let message_id = MessageId::generate();
    let data: DeliverySend = serde_json::from_value(json!({
        "conversation_id": message_id, "channel_id": "terminal", "to": "olena", "seq": seq, "message_id": message_id,
        "content": {"type": "text", "text": text}, "created_at": chrono::Utc::now(),
    }))
    .expect("a delivery");
    let organization = OrganizationId::from("acme");
    Envelope::wrap(
        message_id.into(),
        "/router".to_owned(),
        organization,
        None,
        &data,
    )
    .expect("JSON")
    .with_sequence(seq)
}

async fn publish(bus: &dyn Bus, lane: &Lane, envelope: Envelope) -> Test {
    for outcome in bus.publish(vec![into_lane(lane, envelope)]).await {
        outcome?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connector_in_python_carries_a_lane() -> Test {
    let tools = tempfile::tempdir()?;
    let python = python(tools.path()).await?;
    let world = World::amqp().await?;
    let World::Amqp { url, prefix } = &world else {
        return Err("not on RabbitMQ".into());
    };
    let (process, other) = (world.process().await?, world.process().await?);
    let bus = &*process.bus;
    let lane = Lane::Delivery(ChannelId::from("terminal"));
    let inbound = Lane::inbound_for(&ChannelId::from("terminal"), &Address::from("olena"), LANES);
    declare(bus, &lane).await?;
    for n in 0..LANES {
        declare(bus, &Lane::Inbound(n)).await?;
    }
    let sent: Vec<Envelope> = (1..=3)
        .map(|n| delivery(&format!("reply {n}"), n))
        .collect();
    for envelope in &sent {
        publish(bus, &lane, envelope.clone()).await?;
    }

    // It waits for the lock, and takes nothing before it has it.
    let owner = own(bus, &lane).await;
    let mut connector = Connector::start(&python, url, prefix)?;
    let waits = soon("it waits", connector.said.next_line()).await?;
    assert!(waits.is_some_and(|line| line.contains("another worker owns the lane")));
    assert_eq!(bus.depth(&lane).await?, 3);
    owner.claim.release().await?;
    for n in 1..=3 {
        let line = connector.prints().await?;
        assert!(line.starts_with("delivery.send.v1 olena"), "{line}");
        assert!(line.contains(&format!("reply {n}")), "{line}");
    }
    let member = other.bus.join(&Group::Router).await?;
    assert!(member.claim(&lane).await?.is_none(), "it holds the lock");

    // What it publishes is read by the types that describe it, in its order.
    connector
        .input
        .write_all("olena Привіт, світе\n".as_bytes())
        .await?;
    connector.input.flush().await?;
    let mut router = own(bus, &inbound).await;
    let mut intake = router.claim.take(10).await?;
    for envelope in &sent {
        let taken = soon("a status", intake.next()).await?;
        let Inbound::Status(status) = Inbound::from_envelope(&taken.envelope?)? else {
            return Err("not a status".into());
        };
        assert_eq!(status.status, Status::Sent);
        let about: Value = envelope.data.to_value();
        assert_eq!(json!(status.message_id), about["message_id"]);
        intake.settle(&[taken.tag]).await?;
    }
    let taken = soon("a message", intake.next()).await?;
    let Inbound::Received(message) = Inbound::from_envelope(&taken.envelope?)? else {
        return Err("not a message".into());
    };
    assert_eq!(message.content, Content::text("Привіт, світе"));
    assert_eq!(message.origin.address.as_str(), "olena");
    intake.settle(&[taken.tag]).await?;

    // Everything it took is settled; a killed one leaves its lane to others.
    connector.child.kill().await?;
    let next = own(&*other.bus, &lane).await;
    assert_eq!(bus.depth(&lane).await?, 0);
    next.claim.release().await?;
    Ok(())
}
