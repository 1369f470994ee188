//! As much of W3C WebDriver as these tests need, over plain HTTP: Debian's Chromium through its chromedriver.
//!
//! Small enough to be written down here; the crates for it do not reach into closed shadow roots.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::Engine;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{PATIENCE, eventually};

/// WebDriver, section 11.2: how an element is named in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const SHADOW: &str = "shadow-6066-11e4-a52e-4f735466cecf";

/// Keys of WebDriver, section 17.4.2.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const SHIFT: &str = "\u{e008}";
pub const ESCAPE: &str = "\u{e00c}";
pub const UP: &str = "\u{e013}";

/// A browser of its own, with an empty profile; killed when dropped.
pub struct Browser {
    driver: Child,
    /// The browser's own process, which chromedriver may leave behind.
    process: Option<u64>,
    client: reqwest::Client,
    session: String,
    _profile: TempDir,
}

/// An element of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element(String);

impl Browser {
    pub async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: tests/servers install brings it");
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .expect("client");
        let mut browser = Self {
            driver,
            process: None,
            client,
            session: format!("http://127.0.0.1:{port}"),
            _profile: TempDir::new().expect("temporary folder"),
        };
        eventually("chromedriver is ready", async || {
            let status = browser.try_call(Method::GET, "/status", None).await.ok()?;
            (status["ready"] == true).then_some(())
        })
        .await;
        let created = browser
            .call(Method::POST, "/session", Some(browser.capabilities()))
            .await;
        browser.process = created["capabilities"]["goog:processID"].as_u64();
        let id = created["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/session/{id}", browser.session);
        browser
    }

    fn capabilities(&self) -> Value {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--window-size=1000,800",
            "--lang=en",
            &profile,
        ];
        json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
        }}})
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "/url", Some(json!({"url": url})))
            .await;
    }

    pub async fn reload(&self) {
        self.call(Method::POST, "/refresh", Some(json!({}))).await;
    }

    /// Opens another tab and goes there; answers the name of the one before.
    pub async fn another_tab(&self) -> String {
        let before = self.call(Method::GET, "/window", None).await;
        let new = self
            .call(Method::POST, "/window/new", Some(json!({"type": "tab"})))
            .await;
        self.to_tab(new["handle"].as_str().expect("a tab")).await;
        before.as_str().expect("a tab").to_owned()
    }

    pub async fn to_tab(&self, handle: &str) {
        self.call(Method::POST, "/window", Some(json!({"handle": handle})))
            .await;
    }

    /// Runs the body of a function in the page.
    pub async fn script(&self, body: &str) -> Value {
        self.call(
            Method::POST,
            "/execute/sync",
            Some(json!({"script": body, "args": []})),
        )
        .await
    }

    /// Errors and warnings of the page since the last call.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self
            .call(Method::POST, "/se/log", Some(json!({"type": "browser"})))
            .await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// [`Browser::complaints`] without connections that could not be made.
    pub async fn complaints_but_of_the_network(&self) -> Vec<String> {
        let mut complaints = self.complaints().await;
        complaints.retain(|complaint| {
            !complaint.contains("net::ERR_") && !complaint.contains("WebSocket")
        });
        complaints
    }

    /// The widget's element by selector, waited for until it is shown.
    pub async fn shown(&self, css: &str) -> Element {
        eventually(&format!("{css} is shown"), async || {
            self.find_shown(css).await
        })
        .await
    }

    /// The widget's element by selector, if it is there and shown.
    pub async fn find_shown(&self, css: &str) -> Option<Element> {
        let element = self.find(css).await.into_iter().next()?;
        let path = format!("/element/{}/displayed", element.0);
        (self.try_call(Method::GET, &path, None).await.ok()? == true).then_some(element)
    }

    /// The widget's elements by selector, in the order of the page.
    pub async fn find(&self, css: &str) -> Vec<Element> {
        let Some(root) = self.shadow_root().await else {
            return Vec::new();
        };
        let by = json!({"using": "css selector", "value": css});
        let path = format!("/shadow/{root}/elements");
        let found = self
            .try_call(Method::POST, &path, Some(by))
            .await
            .unwrap_or_default();
        let found = found.as_array().cloned().unwrap_or_default();
        found
            .iter()
            .filter_map(|element| Some(Element(element[ELEMENT].as_str()?.to_owned())))
            .collect()
    }

    async fn shadow_root(&self) -> Option<String> {
        let by = json!({"using": "css selector", "value": "tributary-widget"});
        let host = self
            .try_call(Method::POST, "/element", Some(by))
            .await
            .ok()?;
        let path = format!("/element/{}/shadow", host[ELEMENT].as_str()?);
        let root = self.try_call(Method::GET, &path, None).await.ok()?;
        Some(root[SHADOW].as_str()?.to_owned())
    }

    /// The whole texts of the widget's elements, with what only a screen reader reads.
    pub async fn texts(&self, css: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for element in self.find(css).await {
            texts.push(
                self.property(&element, "property/textContent")
                    .await
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        texts
    }

    /// Waits until the texts are these.
    pub async fn until_texts(&self, css: &str, expected: &[&str]) {
        let started = Instant::now();
        loop {
            let texts = self.texts(css).await;
            if texts == expected {
                return;
            }
            let late = started.elapsed() > PATIENCE;
            assert!(!late, "{css} shows {texts:#?} instead of {expected:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `text`, `name`, `computedrole`, `computedlabel`, `attribute/<name>`, ...
    pub async fn property(&self, element: &Element, name: &str) -> Value {
        let path = format!("/element/{}/{name}", element.0);
        self.try_call(Method::GET, &path, None)
            .await
            .unwrap_or_default()
    }

    /// Role and name, as a screen reader is told.
    pub async fn role_and_name(&self, css: &str) -> (String, String) {
        let element = self
            .find(css)
            .await
            .into_iter()
            .next()
            .expect("it is there");
        let role = self.property(&element, "computedrole").await;
        let name = self.property(&element, "computedlabel").await;
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        (text(role), text(name))
    }

    /// Whether the keyboard goes to the widget's element.
    pub async fn has_focus(&self, css: &str) -> bool {
        !self.find(&format!("{css}:focus")).await.is_empty()
    }

    pub async fn click(&self, css: &str) {
        let element = self.shown(css).await;
        self.call(
            Method::POST,
            &format!("/element/{}/click", element.0),
            Some(json!({})),
        )
        .await;
    }

    /// Types on the keyboard, wherever it goes.
    pub async fn keys(&self, text: &str) {
        let keys = text
            .chars()
            .flat_map(|key| [key_action("keyDown", key), key_action("keyUp", key)]);
        self.act(keys.collect()).await;
    }

    /// Presses one key while another is held.
    pub async fn chord(&self, held: &str, key: &str) {
        let [held, key] = [held, key].map(|key| key.chars().next().expect("a key"));
        let actions = vec![
            key_action("keyDown", held),
            key_action("keyDown", key),
            key_action("keyUp", key),
            key_action("keyUp", held),
        ];
        self.act(actions).await;
    }

    /// Chooses files in the widget's file dialog.
    pub async fn choose_files(&self, css: &str, paths: &[&std::path::Path]) {
        let element = self
            .find(css)
            .await
            .into_iter()
            .next()
            .expect("a file input");
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let path = format!("/element/{}/value", element.0);
        self.call(Method::POST, &path, Some(json!({"text": paths.join("\n")})))
            .await;
    }

    /// Runs the body of a function with one of the widget's elements as its argument.
    pub async fn script_on(&self, css: &str, body: &str) -> Value {
        let element = self.shown(css).await;
        let argument = json!({ELEMENT: element.0});
        self.call(
            Method::POST,
            "/execute/sync",
            Some(json!({"script": body, "args": [argument]})),
        )
        .await
    }

    /// Moves the pointer over one of the widget's elements.
    pub async fn hover(&self, css: &str) {
        let element = self.shown(css).await;
        let origin = json!({ELEMENT: element.0});
        let step = json!({"type": "pointerMove", "duration": 0, "origin": origin, "x": 0, "y": 0});
        let body = json!({"actions": [{"type": "pointer", "id": "mouse", "actions": [step]}]});
        self.call(Method::POST, "/actions", Some(body)).await;
    }

    /// Makes the window so wide and so high.
    pub async fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500});
        let body = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size});
        self.call(Method::POST, "/goog/cdp/execute", Some(body))
            .await;
    }

    /// A picture of the page, for people, where `SCREENSHOTS` names a folder.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("SCREENSHOTS") else {
            return;
        };
        let data = self.call(Method::GET, "/screenshot", None).await;
        let data = data.as_str().expect("a picture in base64");
        let png = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("a picture in base64");
        std::fs::write(std::path::Path::new(&folder).join(name), png).expect("written");
    }

    async fn act(&self, actions: Vec<Value>) {
        let body = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.call(Method::POST, "/actions", Some(body)).await;
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.try_call(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, String> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let mut answer: Map<String, Value> =
            response.json().await.map_err(|error| error.to_string())?;
        let value = answer.remove("value").unwrap_or_default();
        if good {
            Ok(value)
        } else {
            Err(value["message"].as_str().unwrap_or_default().to_owned())
        }
    }
}

fn key_action(kind: &str, key: char) -> Value {
    json!({"type": kind, "value": key})
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.driver.kill());
        drop(self.driver.wait());
        if let Some(process) = self.process {
            drop(
                Command::new("kill")
                    .args(["-9", &process.to_string()])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
    }
}
