//! Confirming what was polled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tributary_bus::{Bus, EmbeddedBus, Lane, LaneSpec};
use tributary_config::{Settings, load_text};
use tributary_simulators::telegram::{Options, TelegramSimulator};

use crate::{Context, InboundSink, registry, testing::PATIENCE};

/// A server that holds no poll open is not called as fast as it answers.
#[tokio::test(flavor = "multi_thread")]
async fn early_and_empty_answers_have_a_floor() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(r#"{"ok":true,"result":[]}"#)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = axum::Router::new().fallback(answer);
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let text = format!(
        "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[organizations.acme]\nname = 'Acme'\n\
         [channels.shop]\nkind = 'telegram'\ntoken = '1:A'\napi_url = 'http://{address}'\n"
    );
    let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
    let context = context(&settings);
    let built = registry::build(&context).expect("right settings");
    let session = built.connector.session().expect("a session");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bus = EmbeddedBus::open(&dir.path().join("bus.db")).await;
    let bus: Arc<dyn Bus> = bus.expect("a bus");
    let sink = InboundSink::new(bus, &context.channel, &settings);
    let stop = CancellationToken::new();
    let began = Instant::now();
    let watched = async {
        while calls.load(Ordering::Relaxed) < 5 && began.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        began.elapsed()
    };
    let (ended, took) = tokio::join!(session.run(sink, stop.clone()), watched);
    ended.expect("it stops as asked");
    assert!(calls.load(Ordering::Relaxed) >= 5, "it polls");
    assert!(
        took >= Duration::from_millis(4 * 300),
        "five polls in {took:?}"
    );
    server.abort();
}

fn context(settings: &Arc<Settings>) -> Context {
    Context {
        channel: settings.channels["shop"].clone(),
        settings: Arc::clone(settings),
        database: None,
        bus: None,
        public_url: None,
        media: None,
    }
}

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
    let context = context(&settings);
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
