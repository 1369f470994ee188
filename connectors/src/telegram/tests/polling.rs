//! Confirming what was polled.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tributary_bus::{Bus, EmbeddedBus, Lane, LaneSpec};
use tributary_config::load_text;
use tributary_simulators::telegram::{Options, TelegramSimulator};

use crate::{Context, InboundSink, registry, testing::PATIENCE};

/// What is polled is confirmed only when it is durable.
#[tokio::test(flavor = "multi_thread")]
async fn updates_wait_at_telegram_while_there_is_no_bus() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("a simulator");
    telegram.user(7).says("hello");
    let text = format!(
        "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[organizations.acme]\nname = 'Acme'\n\
         [channels.shop]\nkind = 'telegram'\ntoken = '{}'\napi_url = '{}'\n",
        telegram.token(),
        telegram.base_url()
    );
    let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
    let context = Context {
        channel: settings.channels["shop"].clone(),
        settings: Arc::clone(&settings),
        database: None,
        bus: None,
        public_url: None,
        media: None,
    };
    let built = registry::build(&context).expect("right settings");
    let session = built.connector.session().expect("a session");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lane = LaneSpec {
        lane: Lane::Inbound(0),
        filter: None,
    };
    for (name, open) in [("away.db", false), ("there.db", true)] {
        let bus = EmbeddedBus::open(&dir.path().join(name))
            .await
            .expect("a bus");
        bus.declare(std::slice::from_ref(&lane))
            .await
            .expect("a lane");
        if !open {
            bus.close().await;
        }
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let sink = InboundSink::new(anybody, &context.channel, &settings);
        let stop = CancellationToken::new();
        let running = session.run(sink, stop.clone());
        let drained = telegram.wait_until_drained(if open {
            PATIENCE
        } else {
            Duration::from_millis(700)
        });
        let watched = async {
            let drained = drained.await;
            stop.cancel();
            drained
        };
        let (ended, drained) = tokio::join!(running, watched);
        ended.expect("it stops as asked");
        assert_eq!(drained.is_ok(), open, "{name}");
        if open {
            // The message, and before it that the account works.
            assert_eq!(bus.depth(&lane.lane).await.expect("a depth"), 2);
        }
    }
    let polls = telegram.calls_of("getUpdates");
    assert_eq!(polls[0].parameters.integer("offset"), None);
}
