//! A visitor, as the script in the page is one: a socket, and frames over it.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::frame::Frame},
};
use tributary_bus::Address;

use crate::testing::PATIENCE;

type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A visitor's connection.
pub(super) struct Visitor {
    wire: Wire,
    pub(super) welcome: Value,
}

impl Visitor {
    /// Opens a socket and says nothing; answers the HTTP status when there is none.
    pub(super) async fn knock(url: &str, origin: Option<&str>) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            let origin = origin.parse().expect("a header");
            request.headers_mut().insert("origin", origin);
        }
        match connect_async(request).await {
            Ok((wire, _)) => Ok(Self {
                wire,
                welcome: Value::Null,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::from(self.welcome["visitor"].as_str().expect("a visitor"))
    }

    pub(super) fn token(&self) -> String {
        self.welcome["token"].as_str().expect("a token").to_owned()
    }

    pub(super) async fn hello(&mut self, fields: Value) {
        let mut hello = json!({"t": "hello", "v": 1, "channel": "shop"});
        for (name, value) in fields.as_object().expect("fields") {
            hello[name] = value.clone();
        }
        self.write(&hello.to_string()).await;
    }

    pub(super) async fn say(&mut self, client_id: &str, text: &str) {
        let body = json!({"type": "text", "text": text});
        self.frame(json!({"t": "send", "client_id": client_id, "body": body}))
            .await;
    }

    /// Says it and answers the ack.
    pub(super) async fn said(&mut self, client_id: &str, text: &str) -> Value {
        self.say(client_id, text).await;
        let ack = self.next().await;
        assert_eq!(
            (&ack["t"], &ack["client_id"]),
            (&json!("ack"), &json!(client_id)),
            "{ack}"
        );
        ack
    }

    pub(super) async fn frame(&mut self, frame: Value) {
        self.write(&frame.to_string()).await;
    }

    pub(super) async fn write(&mut self, text: &str) {
        self.wire
            .send(Message::text(text))
            .await
            .expect("the frame leaves");
    }

    pub(super) async fn write_binary(&mut self) {
        let frame = Message::binary(vec![0, 159, 146, 150]);
        self.wire.send(frame).await.expect("the frame leaves");
    }

    /// A frame that no browser would send.
    pub(super) async fn write_frame(&mut self, frame: Frame) {
        let sent = self.wire.send(Message::Frame(frame)).await;
        sent.expect("the frame leaves");
    }

    /// The next frame, which must come.
    pub(super) async fn next(&mut self) -> Value {
        match self.try_next().await {
            Ok(frame) => frame,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The next frame, or the close code.
    pub(super) async fn try_next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let next = timeout(PATIENCE, self.wire.next());
            match next.await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next frame of a kind; what comes before it is passed over.
    pub(super) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["t"] == kind {
                return frame;
            }
        }
    }

    /// Reads until the connection is closed; answers what came before, and the code.
    pub(super) async fn until_closed(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        loop {
            match self.try_next().await {
                Ok(frame) => frames.push(frame),
                Err(code) => return (frames, code),
            }
        }
    }

    /// Nothing has come: what was asked after it is answered first.
    pub(super) async fn nothing_but_pong(&mut self) {
        self.frame(json!({"t": "ping"})).await;
        let frame = self.next().await;
        assert_eq!(frame["t"], "pong", "{frame}");
    }
}
