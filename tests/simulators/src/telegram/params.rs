//! The arguments of a call, however they came: JSON body, form or multipart body, or query string.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use multer::Multipart;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::answer::ApiError;

/// Arguments by name. As in the real server each is text: numbers in digits, arrays and objects as JSON. Files of a multipart
/// body are beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    texts: BTreeMap<String, String>,
    uploads: BTreeMap<String, Upload>,
}

/// A file in a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// As its part names it.
    pub file_name: Option<String>,
    /// The part's `Content-Type`.
    pub mime_type: Option<String>,
    /// Bytes.
    pub size: usize,
    /// Lower-case hex.
    pub sha256: String,
    /// Empty in records.
    pub(super) bytes: Bytes,
}

impl Params {
    pub(super) async fn parse(
        query: Option<&str>,
        content_type: &str,
        body: &Bytes,
    ) -> Result<Self, ApiError> {
        let mut found = Self::default();
        if let Some(query) = query {
            let texts = form_urlencoded::parse(query.as_bytes()).into_owned();
            found.texts.extend(texts);
        }
        let kind = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            _ if body.is_empty() => {}
            "application/json" => found.texts.extend(from_json(body)?),
            "application/x-www-form-urlencoded" => {
                let texts = form_urlencoded::parse(body).into_owned();
                found.texts.extend(texts);
            }
            "multipart/form-data" => found.read_parts(content_type, body).await?,
            other => {
                let reason = format!("the simulator does not read a body of type '{other}'");
                return Err(ApiError::bad_request(&reason));
            }
        }
        Ok(found)
    }

    /// A part is a file where it says so by a file name, as curl, browsers and HTTP clients write it.
    async fn read_parts(&mut self, content_type: &str, body: &Bytes) -> Result<(), ApiError> {
        let broken = |error: multer::Error| {
            ApiError::bad_request(&format!("can't parse multipart body: {error}"))
        };
        let boundary = multer::parse_boundary(content_type).map_err(broken)?;
        let whole = futures::stream::iter([Ok::<_, Infallible>(body.clone())]);
        let mut parts = Multipart::new(whole, boundary);
        while let Some(part) = parts.next_field().await.map_err(broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            let file_name = part.file_name().map(str::to_owned);
            let mime_type = part
                .content_type()
                .map(|mime| mime.essence_str().to_owned());
            let bytes = part.bytes().await.map_err(broken)?;
            if file_name.is_none() {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.texts.insert(name, text);
                continue;
            }
            let upload = Upload {
                file_name: file_name.filter(|name| !name.is_empty()),
                mime_type,
                size: bytes.len(),
                sha256: hex::encode(Sha256::digest(&bytes)),
                bytes,
            };
            self.uploads.insert(name, upload);
        }
        Ok(())
    }

    /// The same without the contents of its files, to be kept.
    pub(super) fn for_record(&self) -> Self {
        let mut kept = self.clone();
        for upload in kept.uploads.values_mut() {
            upload.bytes = Bytes::new();
        }
        kept
    }

    /// The file in the part of this name.
    pub fn upload(&self, name: &str) -> Option<&Upload> {
        self.uploads.get(name)
    }

    /// The argument as text; absent and empty are the same to the provider.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The argument parsed as JSON, where it is that.
    pub fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The argument as a whole number: 0 where it is something else, as the real server reads it.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)
            .map(|value| value.trim().parse().unwrap_or_default())
    }

    /// `true`, `yes` and `1` are yes; anything else, and absence, is no.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            matches!(
                value.trim().to_ascii_lowercase().as_str(),
                "true" | "yes" | "1"
            )
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The arguments in a JSON object.
    pub(super) fn from_object(object: Value) -> Option<Self> {
        let Value::Object(fields) = object else {
            return None;
        };
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        });
        Some(Self {
            texts: texts.collect(),
            uploads: BTreeMap::new(),
        })
    }
}

fn from_json(body: &Bytes) -> Result<BTreeMap<String, String>, ApiError> {
    let params = serde_json::from_slice(body)
        .ok()
        .and_then(Params::from_object);
    params
        .map(|params| params.texts)
        .ok_or_else(|| ApiError::bad_request("can't parse request body as a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(kind: &str, body: &'static str) -> Result<Params, ApiError> {
        Params::parse(None, kind, &Bytes::from_static(body.as_bytes())).await
    }

    #[tokio::test]
    async fn the_ways_of_giving_arguments_agree() {
        let from_json = parse(
            "application/json; charset=utf-8",
            r#"{"chat_id":5,"text":"a b","keep":null,"reply":{"id":1}}"#,
        )
        .await;
        let from_form = parse(
            "application/x-www-form-urlencoded",
            "chat_id=5&text=a+b&reply=%7B%22id%22%3A1%7D",
        )
        .await;
        let from_parts = parse(
            "multipart/form-data; boundary=X",
            "--X\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n5\r\n\
             --X\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na b\r\n\
             --X\r\nContent-Disposition: form-data; name=\"reply\"\r\n\r\n{\"id\":1}\r\n--X--\r\n",
        )
        .await;
        let query = Some("chat_id=5&text=a%20b&reply={%22id%22:1}");
        let from_query = Params::parse(query, "", &Bytes::new()).await;
        assert_eq!(from_json, from_form);
        assert_eq!(from_json, from_query);
        assert_eq!(from_json, from_parts);
        let params = from_json.expect("the body is an object");
        assert_eq!(params.integer("chat_id"), Some(5));
        assert_eq!(params.json("reply"), Some(serde_json::json!({"id": 1})));
    }

    #[tokio::test]
    async fn parts_with_a_file_name_are_files() {
        let params = parse(
            "multipart/form-data; boundary=X",
            "--X\r\nContent-Disposition: form-data; name=\"f0\"; filename=\"a.pdf\"\r\n\
             Content-Type: application/pdf\r\n\r\n%PDF\r\n--X--\r\n",
        )
        .await
        .expect("it is well formed");
        let upload = params.upload("f0").expect("it is a file");
        assert_eq!(upload.file_name.as_deref(), Some("a.pdf"));
        assert_eq!(upload.mime_type.as_deref(), Some("application/pdf"));
        assert_eq!((upload.size, &upload.bytes[..]), (4, b"%PDF".as_slice()));
        assert_eq!(params.get("f0"), None);
        let kept = params.for_record();
        let kept = kept.upload("f0").expect("it is still known");
        assert_eq!((kept.size, kept.bytes.len()), (4, 0));
    }

    #[tokio::test]
    async fn other_bodies_are_refused() {
        assert!(parse("application/json", "[1]").await.is_err());
        assert!(parse("application/json", "{").await.is_err());
        assert!(parse("text/plain", "a=1").await.is_err());
        assert!(parse("multipart/form-data", "a=1").await.is_err());
        assert!(
            parse("multipart/form-data; boundary=X", "--X\r\nbroken")
                .await
                .is_err()
        );
    }
}
